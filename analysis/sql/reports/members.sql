-- The members of one sweep that have a GT: the points of the scatter plots.
select
    o.algorithm, o.sample_id, a.sample_path, o.label, o.status,
    ending(o.status, a.test_points_lost, max_loss := $max_loss) as ending,
    o.steps, o.f, o.gt, o.gt_share, o.regime, a.test_points_lost as points_lost,
    d.difficulty_rank, d.tied, d.percentile, o.run_id
from internal.outcomes as o
join attempts as a on a.sweep_id = o.sweep_id and a.run_id = o.run_id
join internal.difficulty as d on d.sweep_id = o.sweep_id and d.run_id = o.run_id
where o.sweep_id = $sweep
order by o.algorithm, o.sample_id, o.run_id
