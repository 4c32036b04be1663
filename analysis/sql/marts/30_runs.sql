-- runs: one row per child run, one attempt to unlearn one sample, finished or not.
-- run_name: its name in MLflow.
-- parent_run_id: the sweep that wrote it, its parent in MLflow; other sweeps may ask for it too
-- (see outcomes).
-- experiment: its experiment in MLflow.
-- run_status: its status in MLflow, FINISHED when all of it is there.
-- code_version: the version of the code that wrote it.
-- end_time: when it was written, UTC.
-- example: select status, count(*) as n from runs group by status
create table runs as
select
    run_id, name as run_name, tags['mlflow.parentRunId'] as parent_run_id, experiment,
    experiment_id, params['algorithm'] as algorithm,
    try_cast(tags['sample_id'] as bigint) as sample_id,
    try_cast(tags['split_position'] as bigint) as split_position,
    coalesce(tags['sample_path'], '') as sample_path, try_cast(tags['label'] as bigint) as label,
    tags['status'] as status, try_cast(params['seed'] as bigint) as seed,
    coalesce(map_from_entries([
        param for param in map_entries(params)
        if param.key not in ('algorithm', 'seed', 'engine_version', 'precision')
    ]), map {}) as settings,
    engine_version_of(params['engine_version']) as engine_version,
    precision_of(params['precision']) as precision,
    provider_of(tags, params['algorithm']) as provider, status as run_status,
    tags['key'] as key, tags['code_version'] as code_version, start_time, end_time
from logged('member')
