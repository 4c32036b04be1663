-- The ids of all runs in the store, deleted ones too.
select run_uuid as run_id
from runs
