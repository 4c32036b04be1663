-- A file among a run's artifacts that the run does not mention: left by a process that wrote the
-- same member as another one, or that was killed while it wrote.
select
    f.run_id, f.path as name, 'a file that its run does not tell of' as problem,
    'remove' as repair
from files as f
