-- A finished child run that lacks a metric which its status promises.
select
    r.run_id, r.run_name as name, 'finished without ' || c.factor as problem,
    'discard' as repair
from internal.runs as r
join statuses as s on s.status = r.status and s.has_gt
cross join (from factor_catalog where factor in ('gt', 'steps', 'test_accuracy')) as c
where r.run_status = 'FINISHED'
    and not exists (
        select 1 from factors as f where f.run_id = r.run_id and f.factor = c.factor
    )
