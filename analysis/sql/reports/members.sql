-- The members of one sweep that have a GT, hardest last: the points of the scatter plots.
select
    o.algorithm, o.sample_id, o.label, o.status, o.steps, o.gt, o.gt_share, o.regime,
    d.difficulty_rank, d.tied, d.percentile, o.run_id
from outcomes as o
join difficulty as d on d.sweep_id = o.sweep_id and d.run_id = o.run_id
where o.sweep_id = $sweep
order by o.algorithm, o.sample_id, o.run_id
