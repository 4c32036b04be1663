-- unlearning_steps: one row per step of an unlearning (a child run of its run) that is whole.
-- step_number: from 1, in the order in which they were taken.
-- trial: which of the trials it was of, the first one 1.
-- round: the pass over the requests, from 1.
-- step_requests: of how many requests it was, all of them where all are unlearned at once.
-- step_status: how it ended, as statuses has it, or 'misclassified' (after steps for others, so
-- that none was taken; earlier versions said 'already_forgotten').
-- optimiser_steps: that it took.
-- forget_prob_before, forget_prob_after: the probability of the label of its sample before and
-- after it, the mean where it is for several.
-- step_test_accuracy: of the network after it, from 0 to 1.
-- step_points_lost: by it, of test accuracy, in percentage points.
-- points_lost_so_far: since the base model.
-- still_remembered: how many of all requests are predicted as by the base model after it, or are
-- above their goal.
-- step_started_at: when it began, UTC.
-- step_s: the seconds that it took.
-- example: select step_number, sample_id, step_status, points_lost_so_far from unlearning_steps
create table unlearning_steps as
select
    r.tags['mlflow.parentRunId'] as unlearning_id, r.run_id,
    row_number() over (
        partition by r.tags['mlflow.parentRunId']
        order by
            try_cast(r.params['trial'] as bigint), try_cast(r.params['round'] as bigint),
            try_cast(r.params['place'] as bigint), r.run_id
    ) as step_number,
    coalesce(try_cast(r.params['trial'] as bigint), 1) as trial, r.params['algorithm'] as algorithm,
    try_cast(r.params['round'] as bigint) as round,
    try_cast(r.params['place'] as bigint) as request_place,
    try_cast(r.params['samples'] as bigint) as step_requests,
    try_cast(r.tags['sample_id'] as bigint) as sample_id, r.tags['status'] as step_status,
    r.metrics['steps']::bigint as optimiser_steps,
    r.metrics['forget_prob_before'] as forget_prob_before,
    r.metrics['forget_prob'] as forget_prob_after,
    r.metrics['test_accuracy'] as step_test_accuracy,
    r.metrics['points_lost_by_step'] as step_points_lost,
    r.metrics['points_lost'] as points_lost_so_far,
    r.metrics['remembered']::bigint as still_remembered, r.start_time as step_started_at,
    (epoch_ms(r.end_time::timestamp) - epoch_ms(r.start_time::timestamp)) / 1000 as step_s
from logged('unlearning_step') as r
semi join unlearnings as u on u.unlearning_id = r.tags['mlflow.parentRunId']
where r.status = 'FINISHED'
order by unlearning_id, step_number
