-- The factors of one sample in one sweep, for each algorithm those that are measured after unlearning,
-- with the share of the sweep's samples whose value is lower, ties counted half.
with known as (
    select
        o.sample_id, c.factor, c.title, c.phase, c.unit, c.harder, c.position,
        case c.phase when 'post' then o.algorithm end as algorithm,
        max_by(v.value, (r.start_time, r.run_id)) as value
    from outcomes as o
    join runs as r on r.run_id = o.run_id
    join factors as v on v.run_id = o.run_id
    join factor_catalog as c on c.factor = v.factor and c.factor != 'gt'
    where o.sweep_id = $sweep
    group by all
),
placed as (
    select
        *,
        50.0 * (twice_average_rank(value, (factor, algorithm)) - 1)
        / count(*) over (partition by factor, algorithm) as percentile
    from known
)
select factor, title, phase, algorithm, value, unit, percentile, harder
from placed
where sample_id = $sample
order by phase = 'post', position, algorithm
