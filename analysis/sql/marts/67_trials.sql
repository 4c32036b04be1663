-- trials: one row per tuning and trial: settings that 'indelible tune' tried on a few samples. What
-- a tuning found in the store, since another one had made it, has a row only where it took it.
-- tuning_id: the run id of the tuning.
-- tuning: the name of its run.
-- trial_id: the run id of the trial.
-- tried_by: the run id of the tuning that made it, which it is a child run of.
-- trial_samples: how many samples the settings were tried on.
-- flip_rate: the share of them that flipped or, of a tuning until the reference, arrived there.
-- mean_points_lost: of test accuracy, in percentage points, on average.
-- mean_prob_lost: of the mean probability of the true label on the test set, on average.
-- is_chosen: whether the tuning took these settings for its preset; NULL where that is not known:
-- until it has ended, or where an earlier version logged it.
-- trial_s: the seconds that it took.
-- tried_at: when it was made, UTC.
-- example: select algorithm, settings, flip_rate, mean_points_lost from trials where is_chosen
create table trials as
with trial as (
    select
        *, tags['mlflow.parentRunId'] as tried_by, params['algorithm'] as algorithm,
        [
            param for param in map_entries(params)
            if param.key not in (
                'algorithm', 'samples', 'seed', 'engine_version', 'precision', 'until', 'references'
            )
        ] as settings
    from logged('trial')
    where status = 'FINISHED'
),
tuning as (
    select *, try_cast(tags['chosen'] as json) as chosen
    from logged('tuning')
),
taken as (
    select
        run_id as tuning_id, unnest(json_keys(chosen)) as algorithm,
        json_extract_string(chosen, '$."' || algorithm || '"') as key
    from tuning
    where chosen is not null
)
select
    u.run_id as tuning_id, u.name as tuning, t.run_id as trial_id, t.tried_by,
    u.params['base_run_id'] as base_run_id, u.params['dataset'] as dataset,
    u.params['arch'] as arch, coalesce(u.params['until'], 'flip') as until, t.algorithm,
    provider_of(u.tags, t.algorithm) as provider,
    map_from_entries(t.settings) as settings,
    engine_version_of(t.params['engine_version']) as engine_version,
    precision_of(t.params['precision']) as precision, try_cast(t.params['seed'] as bigint) as seed,
    try_cast(t.params['samples'] as bigint) as trial_samples, t.metrics['flip_rate'] as flip_rate,
    t.metrics['points_lost'] as mean_points_lost, t.metrics['prob_lost'] as mean_prob_lost,
    case when u.chosen is not null then c.key is not null end as is_chosen,
    t.metrics['seconds'] as trial_s, t.end_time as tried_at
from trial as t
cross join tuning as u
left join taken as c
    on c.tuning_id = u.run_id and c.key = t.tags['key'] and c.algorithm = t.algorithm
where t.tried_by = u.run_id or c.key is not null
order by tuning_id, t.algorithm, tried_at, trial_id
