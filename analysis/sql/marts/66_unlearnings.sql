-- unlearnings: one row per unlearning: one model that was asked to forget several samples (a parent
-- run of 'indelible unlearn'), finished or not. Numbers of what it came to are NULL until it is.
-- unlearning: the name of its run.
-- unlearning_status: of its run in MLflow, FINISHED when all of it is there.
-- preset: whose settings it took; NULL where none.
-- request_order: 'given', 'easy' or 'hard' (one after the other, by the GT that was predicted), or
-- 'together' (all at once).
-- max_rounds: passes over the requests, at most.
-- requests: how many samples it was asked to forget.
-- forgotten: of how many their own steps made the prediction another one than the base model's.
-- misclassified: of how many steps for others alone did; earlier versions called these forgotten.
-- remembered: of how many it still is the same.
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
-- reference_test_accuracy, reference_requests_accuracy: of a model that was trained without the
-- requests, on the test set and on the requests; NULL without --reference.
-- reference_gap_before, reference_gap_after: how far the base model and the unlearned one are from
-- that model, as the factor unlearning_gap has it.
-- registered_as: the names that it was given in MLflow's registry of models by --register, with
-- commas between; NULL where none.
-- unlearning_started_at: when it began, UTC.
-- unlearning_s: seconds of its steps together, without what is measured before and after them.
-- example: select algorithm, request_order, requests, forgotten, test_points_lost from unlearnings
create table unlearnings as
with run as (
    from staging.runs
    where kind = 'unlearning'
),
param as (
    select
        p.run_id,
        max(p.value) filter (p.key = 'base_run_id') as base_run_id,
        max(p.value) filter (p.key = 'dataset') as dataset,
        max(p.value) filter (p.key = 'arch') as arch,
        max(p.value) filter (p.key = 'algorithm') as algorithm,
        max(p.value) filter (p.key = 'preset') as preset,
        max(p.value) filter (p.key = 'order') as request_order,
        try_cast(max(p.value) filter (p.key = 'rounds') as bigint) as max_rounds,
        try_cast(max(p.value) filter (p.key = 'samples') as bigint) as requests,
        try_cast(max(p.value) filter (p.key = 'seed') as bigint) as seed,
        engine_version_of(max(p.value) filter (p.key = 'engine_version')) as engine_version,
        precision_of(max(p.value) filter (p.key = 'precision')) as precision
    from staging.params as p
    semi join run as r on r.run_id = p.run_id
    group by p.run_id
),
setting as (
    select
        s.run_id,
        map_from_entries(
            list((s.key[length(p.algorithm) + 2:], s.value) order by s.key)
        ) as settings
    from staging.params as s
    join param as p on p.run_id = s.run_id and starts_with(s.key, p.algorithm || '.')
    group by s.run_id
),
tag as (
    select
        t.run_id,
        max(t.value) filter (t.key = 'data_fingerprint') as data_fingerprint,
        max(t.value) filter (t.key = 'algorithm_providers') as providers,
        max(t.value) filter (t.key = 'registered_models') as registered
    from staging.tags as t
    semi join run as r on r.run_id = t.run_id
    group by t.run_id
),
metric as (
    select
        m.run_id,
        max(m.value) filter (m.key = 'before/test_accuracy') as test_accuracy_before,
        max(m.value) filter (m.key = 'after/test_accuracy') as test_accuracy_after,
        max(m.value) filter (m.key = 'before/remaining_accuracy') as remaining_accuracy_before,
        max(m.value) filter (m.key = 'after/remaining_accuracy') as remaining_accuracy_after,
        max(m.value) filter (m.key = 'before/requests_accuracy') as requests_accuracy_before,
        max(m.value) filter (m.key = 'after/requests_accuracy') as requests_accuracy_after,
        max(m.value) filter (m.key = 'before/requests_loss') as requests_loss_before,
        max(m.value) filter (m.key = 'after/requests_loss') as requests_loss_after,
        max(m.value) filter (m.key = 'before/classes_loss') as classes_loss_before,
        max(m.value) filter (m.key = 'after/classes_loss') as classes_loss_after,
        max(m.value) filter (m.key = 'before/called_unseen') as called_unseen_before,
        max(m.value) filter (m.key = 'after/called_unseen') as called_unseen_after,
        (max(m.value) filter (m.key = 'forgotten'))::bigint as forgotten,
        (max(m.value) filter (m.key = 'misclassified'))::bigint as misclassified,
        (max(m.value) filter (m.key = 'remembered'))::bigint as remembered,
        (max(m.value) filter (m.key = 'already_wrong'))::bigint as already_wrong,
        (max(m.value) filter (m.key = 'never_seen'))::bigint as never_seen,
        (max(m.value) filter (m.key = 'rounds'))::bigint as rounds_taken,
        (max(m.value) filter (m.key = 'steps'))::bigint as total_steps,
        max(m.value) filter (m.key = 'points_lost') as test_points_lost,
        max(m.value) filter (m.key = 'reference_test_accuracy') as reference_test_accuracy,
        max(m.value) filter (m.key = 'reference_requests_accuracy') as reference_requests_accuracy,
        max(m.value) filter (m.key = 'untouched_gap') as reference_gap_before,
        max(m.value) filter (m.key = 'unlearning_gap') as reference_gap_after
    from staging.metrics as m
    semi join run as r on r.run_id = m.run_id
    where not isnan(m.value)
    group by m.run_id
),
taken as (
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
    p.base_run_id, b.base_model, p.dataset, t.data_fingerprint, p.arch, p.algorithm,
    json_extract_string(
        try_cast(t.providers as json), '$."' || p.algorithm || '"'
    ) as provider,
    coalesce(s.settings, map {}) as settings, p.preset, p.engine_version, p.precision, p.seed,
    p.request_order, p.max_rounds, p.requests,
    m.forgotten, m.misclassified, m.remembered, m.already_wrong, m.never_seen, m.rounds_taken,
    m.total_steps, m.test_points_lost, m.test_accuracy_before, m.test_accuracy_after,
    m.remaining_accuracy_before, m.remaining_accuracy_after,
    m.requests_accuracy_before, m.requests_accuracy_after,
    m.requests_loss_before, m.requests_loss_after, m.classes_loss_before, m.classes_loss_after,
    m.called_unseen_before, m.called_unseen_after,
    m.reference_test_accuracy, m.reference_requests_accuracy,
    m.reference_gap_before, m.reference_gap_after,
    array_to_string(try_cast(t.registered as json)::varchar[], ', ') as registered_as,
    r.start_time as unlearning_started_at, k.unlearning_s, r.experiment_id
from run as r
join param as p on p.run_id = r.run_id
left join setting as s on s.run_id = r.run_id
left join tag as t on t.run_id = r.run_id
left join metric as m on m.run_id = r.run_id
left join taken as k on k.run_id = r.run_id
left join base_models as b on b.base_run_id = p.base_run_id
order by unlearning_started_at, unlearning_id
