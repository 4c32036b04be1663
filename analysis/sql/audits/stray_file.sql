-- A file among a run's artifacts that the run does not tell of: of a process that came second with
-- the same member, or that was killed while it wrote.
select
    f.run_id, f.path as name, 'a file that its run does not tell of' as offence,
    'remove' as repair
from files as f
