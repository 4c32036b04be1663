-- The hyper-parameters that each algorithm had in one sweep.
select o.algorithm, any_value(r.settings) as settings
from outcomes as o
join runs as r on r.run_id = o.run_id
where o.sweep_id = $sweep
group by o.algorithm
order by o.algorithm
