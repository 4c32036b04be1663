-- targets: one row per child run and target that it has: in which sense its sample may be hard.
-- example: select target, count(*) as n, avg(measured) as mean from targets group by target
create table targets as
select distinct run_id, 'gt' as target, gt as measured
from outcomes
where gt is not null
union all
select distinct run_id, 'points_lost' as target, test_points_lost as measured
from attempts
where test_points_lost is not null
union all
select run_id, factor as target, value as measured
from factors
where factor in ('z', 'relearn_steps', 'unlearning_gap')
