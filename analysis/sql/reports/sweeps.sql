-- All sweeps, newest first.
select
    sweep_id, name, dataset, arch, base_run_id, algorithms, samples, seed, engine_version,
    precision, planned, finished, status, start_time
from sweeps
order by start_time desc, sweep_id
