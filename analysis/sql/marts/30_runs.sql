-- internal.runs: one row per child run, one attempt to unlearn one sample, finished or not.
-- run_name: its name in MLflow.
-- parent_run_id: the sweep that wrote it, its parent in MLflow; other sweeps may ask for it too
-- (see outcomes).
-- experiment: its experiment in MLflow.
-- run_status: its status in MLflow, FINISHED when all of it is there.
-- code_version: the version of the code that wrote it.
-- end_time: when it was written, UTC.
-- example: select status, count(*) as n from internal.runs group by status
create table internal.runs as
with param as (
    select
        run_id,
        max(value) filter (key = 'algorithm') as algorithm,
        try_cast(max(value) filter (key = 'seed') as bigint) as seed,
        max(value) filter (key = 'engine_version') as engine_version,
        max(value) filter (key = 'precision') as precision,
        map_from_entries(list((key, value) order by key) filter (key not in (
            'algorithm', 'seed', 'engine_version', 'precision'
        ))) as settings
    from staging.params
    group by run_id
),
tag as (
    select
        run_id,
        max(value) filter (key = 'mlflow.parentRunId') as parent_run_id,
        try_cast(max(value) filter (key = 'sample_id') as bigint) as sample_id,
        try_cast(max(value) filter (key = 'split_position') as bigint) as split_position,
        coalesce(max(value) filter (key = 'sample_path'), '') as sample_path,
        try_cast(max(value) filter (key = 'label') as bigint) as label,
        max(value) filter (key = 'status') as status,
        try_cast(max(value) filter (key = 'flipped_to') as bigint) as flipped_to,
        max(value) filter (key = 'key') as key,
        max(value) filter (key = 'code_version') as code_version,
        max(value) filter (key = 'algorithm_providers') as providers
    from staging.tags
    group by run_id
)
select
    r.run_id, r.name as run_name, t.parent_run_id, r.experiment, r.experiment_id,
    p.algorithm, t.sample_id, t.split_position, t.sample_path, t.label, t.status, t.flipped_to,
    p.seed, coalesce(p.settings, map {}) as settings,
    engine_version_of(p.engine_version) as engine_version,
    precision_of(p.precision) as precision,
    json_extract_string(
        try_cast(t.providers as json), '$."' || p.algorithm || '"'
    ) as provider,
    r.status as run_status, t.key, t.code_version, r.start_time, r.end_time
from staging.runs as r
left join param as p on p.run_id = r.run_id
left join tag as t on t.run_id = r.run_id
where r.kind = 'member'
