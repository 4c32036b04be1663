-- The params of all runs of this tool that are not deleted.
select v.run_uuid as run_id, v.key, v.value
from params as v
where
    v.run_uuid in (
        select r.run_uuid
        from runs as r
        join experiments as e on e.experiment_id = r.experiment_id
        where e.name like 'indelible/%' and r.lifecycle_stage = 'active'
    )
