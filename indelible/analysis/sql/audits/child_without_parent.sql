-- A child run whose sweep is not there: deleted by hand, or never written.
select r.run_id, r.name, 'its sweep ' || coalesce(r.parent_run_id, '?') || ' is not there' as offence,
    'none' as repair
from runs as r
where r.parent_run_id is null or r.parent_run_id not in (select sweep_id from sweeps)
