-- sweeps: one row per sweep (parent run): what was planned and how much of it is finished.
-- algorithms: the names of its algorithms, with commas between.
-- samples: how many samples it asked for.
-- remaining: how many training samples stood for the remaining data in the factors that look at it;
-- NULL where all did.
-- planned, finished: how many attempts it asked for, and how many of them are there.
-- study: what made it, such as 'advice' (indelible advise): it is never the latest, and no repeat
-- of another; NULL for a sweep that was asked for.
-- sweep_status: of its run in MLflow, FINISHED when all attempts are there.
-- started_at: when it began, UTC.
-- example: select sweep, planned, finished from sweeps
create table sweeps as
with member as (
    select
        p.run_id as sweep_id,
        count(*) as planned,
        count(*) filter (exists (
            select 1 from internal.runs as r where r.key = p.key and r.run_status = 'FINISHED'
        )) as finished
    from staging.plans as p
    group by p.run_id
)
select
    r.run_id as sweep_id, r.name as sweep, r.params['dataset'] as dataset,
    r.params['arch'] as arch, r.params['base_run_id'] as base_run_id,
    r.params['algorithms'] as algorithms, try_cast(r.params['samples'] as bigint) as samples,
    try_cast(r.params['seed'] as bigint) as seed,
    try_cast(r.params['remaining'] as bigint) as remaining,
    coalesce(r.params['until'], 'flip') as until, r.tags['study'] as study,
    engine_version_of(r.params['engine_version']) as engine_version,
    precision_of(r.params['precision']) as precision, m.planned, m.finished,
    r.status as sweep_status, r.start_time as started_at, r.experiment_id
from logged('sweep') as r
join member as m on m.sweep_id = r.run_id
where r.params is not null
