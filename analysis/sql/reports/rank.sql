-- The hardest (or easiest) samples of one sweep for one algorithm.
select
    d.difficulty_rank, d.tied, d.place, d.ordered_by, d.percentile, d.sample_id,
    a.sample_path, d.label, d.algorithm, d.gt, o.gt_share, o.regime, o.f, o.u, o.steps, o.status
from difficulty as d
join outcomes as o on o.sweep_id = d.sweep_id and o.run_id = d.run_id
join attempts as a on a.sweep_id = d.sweep_id and a.run_id = d.run_id
where d.sweep_id = $sweep and d.algorithm = $algorithm
order by case when $easiest then -d.place else d.place end, d.sample_id
limit $top
