-- internal.targets: one row per child run and target that it has: in which sense its sample may be
-- hard.
-- example: select target, avg(measured) as mean from internal.targets group by target
create table internal.targets as
select distinct run_id, 'gt' as target, gt as measured
from internal.outcomes
where gt is not null
union all
select distinct run_id, 'points_lost' as target, test_points_lost as measured
from attempts
where test_points_lost is not null
union all
select run_id, factor as target, value as measured
from factors
where factor in ('z', 'relearn_steps', 'unlearning_gap')
union all
-- Of several audits of a member the one of the most models counts.
select o.run_id, 'auc' as target, a.auc_ratio as measured
from internal.outcomes as o
join audits as a
    on a.sweep_id = o.sweep_id and a.algorithm = o.algorithm and a.sample_id = o.sample_id
where a.auc_ratio is not null
qualify row_number() over (partition by o.run_id order by a.models_saw desc, a.audit_id) = 1
