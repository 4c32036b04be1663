-- Every factor of every member of one sweep beside its GT: the points of the scatter plots.
select o.algorithm, o.sample_id, o.label, o.status, o.gt, v.factor, v.value
from outcomes as o
join factors as v on v.run_id = o.run_id
join factor_catalog as c on c.factor = v.factor
where o.sweep_id = $sweep and o.gt is not null
order by c.position, o.algorithm, o.sample_id
