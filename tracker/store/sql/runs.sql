-- All runs of this tool that are not deleted.
select
    r.run_uuid as run_id, r.name, cast(r.experiment_id as text) as experiment_id,
    e.name as experiment,
    (select t.value from tags as t where t.run_uuid = r.run_uuid and t.key = 'kind') as kind,
    r.status, r.start_time, r.end_time,
    coalesce(
        (select t.value from tags as t where t.run_uuid = r.run_uuid and t.key = 'measured_at'), ''
    ) as measured_at,
    r.artifact_uri
from runs as r
join experiments as e on e.experiment_id = r.experiment_id
where e.name like 'indelible/%' and r.lifecycle_stage = 'active'
