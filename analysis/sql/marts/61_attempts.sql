-- attempts: one row per finished member of a sweep, as in outcomes, with what else is known of it:
-- its sweep, base model and settings, and how well the network does on the test set.
-- z_error: the standard error of z, that few reference models leave.
-- verdict: 'forgotten' where |z| is within the middle 90% of models that never saw the sample, else
-- 'over_forgotten' (z below) or 'remembered' (z above); NULL where z is.
-- is_damaged: whether test_points_lost is more than 5: a flip at such a price is a ruined model,
-- not a sample that was unlearned. is_damaged(test_points_lost, max_loss := 2) sets another limit.
-- is_unchanged: whether not a bit changed of the weights, or of the mean probabilities by which GT
-- is measured, as where a loss cancels at the start or a rate is too small; false where a step left
-- the finite numbers, and where there was nothing to forget.
-- example: select algorithm, status, is_damaged, count(*) as n from attempts group by all
create table attempts as
with measured as (
    select
        run_id,
        max(value) filter (factor = 'test_accuracy') as test_accuracy,
        max(value) filter (factor = 'z') as z,
        max(value) filter (factor = 'z_error') as z_error,
        max(value) filter (factor = 'forgotten') as forgotten
    from factors
    where factor in ('test_accuracy', 'z', 'z_error', 'forgotten')
    group by run_id
)
select
    o.sweep_id, s.sweep, b.base_run_id, b.base_model, b.base_seed,
    b.dataset, b.data_fingerprint, b.arch, b.recipe, o.algorithm, r.provider, r.settings,
    r.engine_version, r.precision, r.seed, o.sample_id, r.split_position, r.sample_path,
    o.label, o.status, o.steps, o.f, o.u, o.gt,
    m.z, m.z_error, verdict(m.forgotten, m.z) as verdict,
    b.test_accuracy as test_accuracy_before, m.test_accuracy as test_accuracy_after,
    100 * (test_accuracy_before - test_accuracy_after) as test_points_lost,
    is_damaged(test_points_lost) as is_damaged,
    o.status = 'unchanged'
    or (
        o.status not in ('already_wrong', 'nothing_to_forget', 'non_finite')
        and coalesce(o.f = 0 and o.u = 1, false)
    ) as is_unchanged,
    r.start_time, r.key, o.run_id
from outcomes as o
join runs as r on r.run_id = o.run_id
join sweeps as s on s.sweep_id = o.sweep_id
join base_models as b on b.base_run_id = s.base_run_id
left join measured as m on m.run_id = o.run_id
