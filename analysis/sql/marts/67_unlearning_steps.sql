-- unlearning_steps: one row per step of an unlearning (a child run of its run) that is whole.
-- step_number: from 1, in the order in which they were taken.
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
-- still_remembered: how many of all requests are predicted as by the base model after it.
-- step_started_at: when it began, UTC.
-- step_s: the seconds that it took.
-- example: select step_number, sample_id, step_status, points_lost_so_far from unlearning_steps
create table unlearning_steps as
with run as (
    from staging.runs
    where kind = 'unlearning_step' and status = 'FINISHED'
),
param as (
    select
        p.run_id,
        try_cast(max(p.value) filter (p.key = 'round') as bigint) as round,
        try_cast(max(p.value) filter (p.key = 'place') as bigint) as request_place,
        try_cast(max(p.value) filter (p.key = 'samples') as bigint) as step_requests
    from staging.params as p
    semi join run as r on r.run_id = p.run_id
    group by p.run_id
),
tag as (
    select
        t.run_id,
        max(t.value) filter (t.key = 'mlflow.parentRunId') as unlearning_id,
        try_cast(max(t.value) filter (t.key = 'sample_id') as bigint) as sample_id,
        max(t.value) filter (t.key = 'status') as step_status
    from staging.tags as t
    semi join run as r on r.run_id = t.run_id
    group by t.run_id
),
metric as (
    select
        m.run_id,
        (max(m.value) filter (m.key = 'steps'))::bigint as optimiser_steps,
        max(m.value) filter (m.key = 'forget_prob_before') as forget_prob_before,
        max(m.value) filter (m.key = 'forget_prob') as forget_prob_after,
        max(m.value) filter (m.key = 'test_accuracy') as step_test_accuracy,
        max(m.value) filter (m.key = 'points_lost_by_step') as step_points_lost,
        max(m.value) filter (m.key = 'points_lost') as points_lost_so_far,
        (max(m.value) filter (m.key = 'remembered'))::bigint as still_remembered
    from staging.metrics as m
    semi join run as r on r.run_id = m.run_id
    where not isnan(m.value)
    group by m.run_id
)
select
    t.unlearning_id, r.run_id,
    row_number() over (
        partition by t.unlearning_id order by p.round, p.request_place, r.run_id
    ) as step_number,
    p.round, p.request_place, p.step_requests, t.sample_id, t.step_status, m.optimiser_steps,
    m.forget_prob_before, m.forget_prob_after, m.step_test_accuracy, m.step_points_lost,
    m.points_lost_so_far, m.still_remembered, r.start_time as step_started_at,
    (epoch_ms(r.end_time::timestamp) - epoch_ms(r.start_time::timestamp)) / 1000 as step_s
from run as r
join tag as t on t.run_id = r.run_id
join unlearnings as u on u.unlearning_id = t.unlearning_id
left join param as p on p.run_id = r.run_id
left join metric as m on m.run_id = r.run_id
order by t.unlearning_id, step_number
