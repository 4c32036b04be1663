-- unlearnings: one row per unlearning: one model that was asked to forget several samples (a parent
-- run of 'indelible unlearn'), finished or not. Numbers of what it came to are NULL until it is.
-- unlearning: the name of its run.
-- unlearning_status: of its run in MLflow, FINISHED when all of it is there.
-- preset: whose settings it took; NULL where none.
-- is_done: whether every request is forgotten, and no more test accuracy lost than it may.
-- request_order: 'given' (one after the other; earlier versions also 'easy' and 'hard'), or
-- 'together' (all at once).
-- max_rounds: passes over the requests, at most.
-- requests: how many samples it was asked to forget.
-- forgotten: how many are: their own steps made the prediction another one than the base model's,
-- or, until the reference, they stand among models that never saw them.
-- over_forgotten: how many stand below these.
-- misclassified: of how many steps for others alone did; earlier versions called these forgotten.
-- remembered: of how many the prediction still is the same, or which stand above these models.
-- already_wrong: how many the base model got wrong, so that nothing was unlearned.
-- never_seen: how many are not in the model's training data, as it was trained without them.
-- rounds_taken: passes that were taken.
-- total_steps: optimiser steps of all its steps together.
-- remaining_accuracy_before, remaining_accuracy_after: of the base model and of the unlearned one
-- on the training samples that are no requests, from 0 to 1.
-- requests_accuracy_before, requests_accuracy_after: on the requests.
-- requests_loss_before, requests_loss_after: the mean cross-entropy of the requests, in nats.
-- classes_loss_before, classes_loss_after: that of test samples of the classes of the requests,
-- each class as often as it is among these.
-- called_unseen_before, called_unseen_after: the share of the requests that an attack by confidence
-- says were never trained on.
-- retrained_test_accuracy, retrained_requests_accuracy: of a model that was trained without the
-- requests, on the test set and on the requests; NULL where none was made beside the one kept.
-- retrain_s: seconds that its training took.
-- registered_as: the names that it was given in MLflow's registry of models by --register, with
-- commas between; NULL where none.
-- unlearning_started_at: when it began, UTC.
-- unlearning_s: seconds of its steps together, without what is measured before and after them.
-- example: select algorithm, request_order, requests, forgotten, test_points_lost from unlearnings
create table unlearnings as
with taken as (
    select
        t.value as run_id,
        sum(
            epoch_ms(r.end_time::timestamp) - epoch_ms(r.start_time::timestamp)
        )::double / 1000 as unlearning_s
    from staging.runs as r
    join staging.tags as t on t.run_id = r.run_id and t.key = 'mlflow.parentRunId'
    where r.kind = 'unlearning_step' and r.status = 'FINISHED'
    group by t.value
)
select
    r.run_id as unlearning_id, r.name as unlearning, r.status as unlearning_status,
    r.params['base_run_id'] as base_run_id, b.base_model, r.params['dataset'] as dataset,
    r.tags['data_fingerprint'] as data_fingerprint, r.params['arch'] as arch,
    coalesce(r.tags['kept'] ->> 'algorithm', r.params['algorithm']) as algorithm,
    provider_of(r.tags, coalesce(r.tags['kept'] ->> 'algorithm', r.params['algorithm']))
        as provider,
    coalesce(
        try_cast(r.tags['kept'] -> 'settings' as map (varchar, varchar)),
        map_from_entries([
            (param['key'][length(r.params['algorithm']) + 2:], param['value'])
            for param in map_entries(r.params)
            if starts_with(param['key'], r.params['algorithm'] || '.')
        ])
    ) as settings,
    r.params['preset'] as preset, engine_version_of(r.params['engine_version']) as engine_version,
    precision_of(r.params['precision']) as precision, try_cast(r.params['seed'] as bigint) as seed,
    coalesce(r.params['until'], 'flip') as until, r.metrics['is_done'] = 1 as is_done,
    r.params['order'] as request_order, try_cast(r.params['rounds'] as bigint) as max_rounds,
    try_cast(r.params['samples'] as bigint) as requests,
    r.metrics['forgotten']::bigint as forgotten,
    r.metrics['over_forgotten']::bigint as over_forgotten,
    r.metrics['misclassified']::bigint as misclassified,
    r.metrics['remembered']::bigint as remembered,
    r.metrics['already_wrong']::bigint as already_wrong,
    r.metrics['never_seen']::bigint as never_seen, r.metrics['rounds']::bigint as rounds_taken,
    r.metrics['steps']::bigint as total_steps, r.metrics['points_lost'] as test_points_lost,
    r.metrics['before/test_accuracy'] as test_accuracy_before,
    r.metrics['after/test_accuracy'] as test_accuracy_after,
    r.metrics['before/remaining_accuracy'] as remaining_accuracy_before,
    r.metrics['after/remaining_accuracy'] as remaining_accuracy_after,
    r.metrics['before/requests_accuracy'] as requests_accuracy_before,
    r.metrics['after/requests_accuracy'] as requests_accuracy_after,
    r.metrics['before/requests_loss'] as requests_loss_before,
    r.metrics['after/requests_loss'] as requests_loss_after,
    r.metrics['before/classes_loss'] as classes_loss_before,
    r.metrics['after/classes_loss'] as classes_loss_after,
    r.metrics['before/called_unseen'] as called_unseen_before,
    r.metrics['after/called_unseen'] as called_unseen_after,
    r.metrics['retrained/test_accuracy'] as retrained_test_accuracy,
    r.metrics['retrained/requests_accuracy'] as retrained_requests_accuracy,
    r.metrics['retrain_seconds'] as retrain_s,
    array_to_string(try_cast(r.tags['registered_models'] as json)::varchar[], ', ')
        as registered_as,
    r.start_time as unlearning_started_at, k.unlearning_s, r.experiment_id
from logged('unlearning') as r
left join taken as k on k.run_id = r.run_id
left join base_models as b on b.base_run_id = r.params['base_run_id']
where r.params is not null
order by unlearning_started_at, unlearning_id
