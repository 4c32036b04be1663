-- Finished runs that are not deleted, with their keys.
select r.run_uuid as run_id, t.value as key
from runs as r
join tags as t on t.run_uuid = r.run_uuid and t.key = 'key'
where r.status = 'FINISHED' and r.lifecycle_stage = 'active'
