-- A child run that was begun and never finished, of a sweep that is not running.
select
    r.run_id, r.run_name as name, 'half written: ' || r.run_status as problem,
    'discard' as repair
from internal.runs as r
left join staging.runs as s on s.run_id = r.parent_run_id
where r.run_status != 'FINISHED' and coalesce(s.status, '') != 'RUNNING'
