-- The params of runs.
select run_uuid as run_id, key, value
from params
