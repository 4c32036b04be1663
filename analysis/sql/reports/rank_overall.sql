-- The hardest (or easiest) samples of one sweep over all its algorithms, by mean percentile of
-- difficulty, and where samples are tied in that by their mean place; one row per sample and
-- algorithm.
with sample as (
    select
        sample_id, label,
        list_avg(list(percentile order by algorithm)) as mean_percentile,
        round(mean_percentile, 9) as level, -- the same percentiles in another order are a tie
        list_avg(list(place order by algorithm)) as mean_place
    from difficulty
    where sweep_id = $sweep
    group by sample_id, label
),
overall as (
    select
        *, peers(level, true) - 1 as tied,
        row_number() over (
            order by
                case when $easiest then level else -level end,
                case when $easiest then -mean_place else mean_place end,
                sample_id
        ) as position
    from sample
)
select
    o.sample_id, o.label, o.mean_percentile, o.tied, d.algorithm, d.difficulty_rank, d.place
from overall as o
join difficulty as d on d.sweep_id = $sweep and d.sample_id = o.sample_id
where o.position <= $top
order by o.position, d.algorithm
