-- trials: one row per tuning and trial: settings that 'indelible tune' tried on a few samples. What
-- a tuning found in the store, since another one had made it, has a row only where it took it.
-- tuning_id: the run id of the tuning.
-- tuning: the name of its run.
-- trial_id: the run id of the trial.
-- tried_by: the run id of the tuning that made it, which it is a child run of.
-- trial_samples: how many samples the settings were tried on.
-- mean_points_lost: of test accuracy, in percentage points, on average.
-- mean_prob_lost: of the mean probability of the true label on the test set, on average.
-- is_chosen: whether the tuning took these settings for its preset; NULL where that is not known:
-- until it has ended, or where an earlier version logged it.
-- trial_s: the seconds that it took.
-- tried_at: when it was made, UTC.
-- example: select algorithm, settings, flip_rate, mean_points_lost from trials where is_chosen
create table trials as
with trial as (
    from staging.runs
    where kind = 'trial' and status = 'FINISHED'
),
param as (
    select
        p.run_id,
        max(p.value) filter (p.key = 'algorithm') as algorithm,
        try_cast(max(p.value) filter (p.key = 'samples') as bigint) as trial_samples,
        try_cast(max(p.value) filter (p.key = 'seed') as bigint) as seed,
        engine_version_of(max(p.value) filter (p.key = 'engine_version')) as engine_version,
        precision_of(max(p.value) filter (p.key = 'precision')) as precision,
        map_from_entries(list((p.key, p.value) order by p.key) filter (p.key not in (
            'algorithm', 'samples', 'seed', 'engine_version', 'precision'
        ))) as settings
    from staging.params as p
    semi join trial as r on r.run_id = p.run_id
    group by p.run_id
),
tag as (
    select
        t.run_id,
        max(t.value) filter (t.key = 'mlflow.parentRunId') as tried_by,
        max(t.value) filter (t.key = 'key') as key
    from staging.tags as t
    semi join trial as r on r.run_id = t.run_id
    group by t.run_id
),
metric as (
    select
        m.run_id,
        max(m.value) filter (m.key = 'flip_rate') as flip_rate,
        max(m.value) filter (m.key = 'points_lost') as mean_points_lost,
        max(m.value) filter (m.key = 'prob_lost') as mean_prob_lost,
        max(m.value) filter (m.key = 'seconds') as trial_s
    from staging.metrics as m
    semi join trial as r on r.run_id = m.run_id
    where not isnan(m.value)
    group by m.run_id
),
tuning as (
    select
        r.run_id as tuning_id, any_value(r.name) as tuning,
        max(p.value) filter (p.key = 'base_run_id') as base_run_id,
        max(p.value) filter (p.key = 'dataset') as dataset,
        max(p.value) filter (p.key = 'arch') as arch
    from staging.runs as r
    join staging.params as p on p.run_id = r.run_id
    where r.kind = 'tuning'
    group by r.run_id
),
told as (
    select
        t.run_id as tuning_id,
        try_cast(max(t.value) filter (t.key = 'chosen') as json) as chosen,
        try_cast(max(t.value) filter (t.key = 'algorithm_providers') as json) as providers
    from staging.tags as t
    semi join tuning as r on r.tuning_id = t.run_id
    group by t.run_id
),
taken as (
    select
        o.tuning_id, unnest(json_keys(o.chosen)) as algorithm,
        json_extract_string(o.chosen, '$."' || algorithm || '"') as key
    from told as o
    where o.chosen is not null
),
row_of as (
    select
        u.tuning_id, t.run_id, t.tried_by, p.algorithm,
        case when o.chosen is not null then c.key is not null end as is_chosen
    from tag as t
    join param as p on p.run_id = t.run_id
    cross join tuning as u
    left join told as o on o.tuning_id = u.tuning_id
    left join taken as c
        on c.tuning_id = u.tuning_id and c.key = t.key and c.algorithm = p.algorithm
    where t.tried_by = u.tuning_id or c.key is not null
)
select
    u.tuning_id, u.tuning, r.run_id as trial_id, w.tried_by, u.base_run_id, u.dataset, u.arch,
    p.algorithm,
    json_extract_string(o.providers, '$."' || p.algorithm || '"') as provider,
    coalesce(p.settings, map {}) as settings, p.engine_version, p.precision, p.seed,
    p.trial_samples, m.flip_rate, m.mean_points_lost, m.mean_prob_lost, w.is_chosen, m.trial_s,
    r.end_time as tried_at
from row_of as w
join trial as r on r.run_id = w.run_id
join tuning as u on u.tuning_id = w.tuning_id
join param as p on p.run_id = w.run_id
left join told as o on o.tuning_id = w.tuning_id
left join metric as m on m.run_id = w.run_id
order by u.tuning_id, p.algorithm, tried_at, trial_id
