-- A child run whose sweep is not there: deleted by hand, or never written.
select
    r.run_id, r.run_name as name,
    'its sweep ' || coalesce(r.parent_run_id, '?') || ' is not there' as problem, 'none' as repair
from internal.runs as r
anti join (from staging.runs where kind = 'sweep') as s on s.run_id = r.parent_run_id
