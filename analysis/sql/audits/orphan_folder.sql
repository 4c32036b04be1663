-- A folder of artifacts that belongs to no run: what a killed process left.
select
    f.run_id, f.path as name, 'a folder of artifacts without a run' as problem,
    'remove' as repair
from folders as f
