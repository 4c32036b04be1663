-- This tool's runs that are not deleted.
select
    r.run_uuid as run_id, r.name, cast(r.experiment_id as varchar) as experiment_id,
    e.name as experiment, k.value as kind, r.status, r.start_time, r.end_time,
    coalesce(m.value, '') as measured_at, r.artifact_uri
from runs as r
join experiments as e on e.experiment_id = r.experiment_id
left join tags as k on k.run_uuid = r.run_uuid and k.key = 'kind'
left join tags as m on m.run_uuid = r.run_uuid and m.key = 'measured_at'
where e.name like 'indelible/%' and r.lifecycle_stage = 'active'
