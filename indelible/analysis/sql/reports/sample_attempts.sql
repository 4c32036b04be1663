-- What became of one sample in one sweep, an algorithm each.
select
    o.algorithm, o.sample_id, o.label, o.status, o.steps, o.gt, o.f, o.u, d.difficulty_rank,
    d.percentile, o.run_id
from outcomes as o
left join difficulty as d on d.sweep_id = o.sweep_id and d.run_id = o.run_id
where o.sweep_id = $sweep and o.sample_id = $sample
order by o.algorithm
