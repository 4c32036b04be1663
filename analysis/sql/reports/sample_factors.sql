-- The factors of one sample in one sweep, for each algorithm those that are measured after
-- unlearning, with the share of the sweep's samples whose value is lower, ties counted half.
with known as (
    select
        a.sample_id, c.factor, c.title, c.family, c.phase, c.unit, c.harder, c.position,
        case c.phase when 'post' then a.algorithm end as algorithm,
        max_by(v.value, (a.start_time, a.run_id)) as value
    from attempts as a
    join factors as v on v.run_id = a.run_id
    join factor_catalog as c on c.factor = v.factor and c.factor != 'gt'
    where a.sweep_id = $sweep
    group by all
),
placed as (
    select
        *,
        50.0 * (twice_average_rank(value, (factor, algorithm)) - 1)
        / count(*) over (partition by factor, algorithm) as percentile
    from known
)
select factor, title, family, phase, algorithm, value, unit, percentile, harder
from placed
where sample_id = $sample
order by phase = 'post', position, algorithm
