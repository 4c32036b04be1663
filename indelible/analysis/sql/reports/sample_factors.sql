-- The factors of one sample that are known before unlearning, in one sweep, with the share of the
-- sweep's samples whose value is lower, ties counted half.
with known as (
    select
        o.sample_id, c.factor, c.title, c.unit, c.harder, c.position,
        max_by(v.value, (r.start_time, r.run_id)) as value
    from outcomes as o
    join runs as r on r.run_id = o.run_id
    join factors as v on v.run_id = o.run_id
    join factor_catalog as c on c.factor = v.factor and c.phase = 'pre'
    where o.sweep_id = $sweep
    group by all
),
placed as (
    select
        *,
        50.0 * (twice_average_rank(value, factor) - 1) / count(*) over (partition by factor)
            as percentile
    from known
)
select factor, title, value, unit, percentile, harder
from placed
where sample_id = $sample
order by position
