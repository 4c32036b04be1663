-- The hardest (or easiest) samples of one sweep for one algorithm, by a target (see ranking).
select
    d.difficulty_rank, d.tied, d.place, d.ordered_by, d.percentile, d.sample_id,
    a.sample_path, d.label, d.algorithm, o.gt, o.gt_share, o.regime, o.f, o.u, o.steps, o.status,
    a.z, a.z_error, a.verdict, a.test_points_lost
from ranking($sweep, $by) as d
join internal.outcomes as o on o.sweep_id = $sweep and o.run_id = d.run_id
join attempts as a on a.sweep_id = $sweep and a.run_id = d.run_id
where d.algorithm = $algorithm
order by case when $easiest then -d.place else d.place end, d.sample_id
limit $top
