-- The run of this tool that has this id and is not deleted.
select
    r.run_uuid as run_id, r.name, r.status, r.start_time, r.artifact_uri,
    cast(r.experiment_id as text) as experiment_id
from runs as r
join experiments as e on e.experiment_id = r.experiment_id
where e.name like 'indelible/%' and r.lifecycle_stage = 'active' and r.run_uuid = :run_id
