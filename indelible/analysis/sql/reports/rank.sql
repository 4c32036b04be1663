-- The hardest (or easiest) samples of one sweep for one algorithm.
select
    d.difficulty_rank, d.percentile, d.sample_id, d.label, d.algorithm, d.gt, o.f, o.u, o.steps,
    o.status
from difficulty as d
join outcomes as o on o.sweep_id = d.sweep_id and o.run_id = d.run_id
where d.sweep_id = $sweep and d.algorithm = $algorithm
order by case when $easiest then -d.difficulty_rank else d.difficulty_rank end, d.sample_id
limit $top
