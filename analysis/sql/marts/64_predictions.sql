-- predictions: one row per prediction run, algorithm and sample: what was predicted of an attempt
-- before it, and when. NULL is what cannot be said. The columns that end in _low and _high are the
-- 90% interval, split-conformal; NULL where fewer than 20 attempts on other samples were there, and
-- where there is nothing to forget, which is certain.
-- prediction: the name of the run.
-- predicted_rank: 1 is the lowest predicted GT of the run's samples or, of attempts until the
-- reference, the most points_lost; ties share the lowest of their ranks.
-- predicted_steps, predicted_steps_low, predicted_steps_high: optimiser steps, as steps in
-- attempts.
-- predicted_flips: the probability that the prediction flips within the budget or, of attempts
-- until the reference, that they arrive there.
-- predicted_prob_lost, predicted_prob_lost_low, predicted_prob_lost_high: 1 - U, the fall of the
-- mean probability of the true label on the test set.
-- predicted_points_lost, predicted_points_lost_low, predicted_points_lost_high: of test accuracy,
-- in percentage points, as test_points_lost in attempts.
-- predicted_forget_prob_diff: F.
-- predicted_gt, predicted_gt_low, predicted_gt_high: GT.
-- first_attempted_at: when the first attempt began that comes to the same (UTC): of this key; of an
-- algorithm without chance under any seed. NULL while there is no attempt of this key.
-- attempted_before: whether that was before, so that it was no prediction: by its time, or as the
-- prediction says itself, which also knows of attempts that were deleted since.
-- calibrated_on_it: whether the intervals come from an attempt of this key, among others.
-- example: select algorithm, sample_id, predicted_gt from predictions where predicted_rank <= 5
create table predictions as
with attempt as (
    select
        r.*, p.value as base_run_id, r.start_time as began
    from internal.runs as r
    left join staging.params as p on p.run_id = r.parent_run_id and p.key = 'base_run_id'
    where r.key is not null
),
begun as (
    select distinct
        key, min(began) over (partition by key) as began,
        min(began) over (
            partition by
                base_run_id, algorithm, provider, settings, engine_version, precision, sample_id
        ) as began_by_any_seed
    from attempt
)
select
    p.run_id as prediction_id, r.name as prediction, r.params['base_run_id'] as base_run_id,
    p.algorithm, p.sample_id, p.label,
    case
        when r.params['until'] = 'reference' and p.points_lost is not null
            then rank() over (partition by p.run_id, p.algorithm order by -p.points_lost)
        when p.gt is not null
            then rank() over (partition by p.run_id, p.algorithm order by p.gt nulls last)
    end as predicted_rank,
    p.steps as predicted_steps, p.flips as predicted_flips, p.prob_lost as predicted_prob_lost,
    p.points_lost as predicted_points_lost, p.forget_prob_diff as predicted_forget_prob_diff,
    p.gt as predicted_gt,
    p.steps_low as predicted_steps_low, p.steps_high as predicted_steps_high,
    p.prob_lost_low as predicted_prob_lost_low, p.prob_lost_high as predicted_prob_lost_high,
    p.points_lost_low as predicted_points_lost_low,
    p.points_lost_high as predicted_points_lost_high,
    p.gt_low as predicted_gt_low, p.gt_high as predicted_gt_high,
    p.key, r.end_time as made_at,
    if(
        list_contains(string_split(r.params['without_chance'], ','), p.algorithm),
        b.began_by_any_seed, b.began
    ) as first_attempted_at,
    coalesce(p.attempted, false) or coalesce(first_attempted_at < r.end_time, false)
        as attempted_before,
    c.key is not null as calibrated_on_it
from staging.predictions as p
join logged('prediction') as r on r.run_id = p.run_id
left join begun as b on b.key = p.key
left join staging.calibrations as c on c.run_id = p.run_id and c.key = p.key
order by prediction_id, p.algorithm, predicted_rank, p.sample_id
