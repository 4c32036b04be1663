-- The runs of this tool that are of one kind and not deleted, newest first.
select
    r.run_uuid as run_id, r.name, r.status, r.start_time, r.artifact_uri,
    cast(r.experiment_id as text) as experiment_id
from runs as r
join experiments as e on e.experiment_id = r.experiment_id
join tags as t on t.run_uuid = r.run_uuid and t.key = 'kind'
where e.name like 'indelible/%' and r.lifecycle_stage = 'active' and t.value = :kind
order by r.start_time desc, r.run_uuid
