-- What became of one sample in one sweep, an algorithm each.
select
    o.algorithm, o.sample_id, o.label, o.status, o.steps, o.gt, o.gt_share, o.regime, o.f, o.u,
    d.difficulty_rank, d.tied, d.place, d.ordered_by, d.percentile, o.run_id
from outcomes as o
left join difficulty as d on d.sweep_id = o.sweep_id and d.run_id = o.run_id
where o.sweep_id = $sweep and o.sample_id = $sample
order by o.algorithm
