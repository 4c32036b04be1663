-- The hardest (or easiest) samples of one sweep over all its algorithms, by mean percentile of
-- difficulty; one row per sample and algorithm.
with overall as (
    select sample_id, label, avg(percentile) as mean_percentile
    from difficulty
    where sweep_id = $sweep
    group by sample_id, label
    order by case when $easiest then mean_percentile else -mean_percentile end, sample_id
    limit $top
)
select o.sample_id, o.label, o.mean_percentile, d.algorithm, d.difficulty_rank
from overall as o
join difficulty as d on d.sweep_id = $sweep and d.sample_id = o.sample_id
order by
    case when $easiest then o.mean_percentile else -o.mean_percentile end,
    o.sample_id, d.algorithm
