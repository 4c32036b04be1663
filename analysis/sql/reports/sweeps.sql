-- All sweeps, newest first.
select
    sweep_id, sweep as name, dataset, arch, base_run_id, algorithms, samples, seed, remaining,
    until, study, engine_version, precision, planned, finished, sweep_status as status,
    started_at as start_time
from sweeps
order by started_at desc, sweep_id
