-- internal.outcomes: one row per finished member of a sweep: what attempts has of it, but the
-- difficulty and the factors.
-- example: select algorithm, label, avg(gt) as gt from internal.outcomes group by all order by gt
create table internal.outcomes as
with measured as (
    select
        run_id,
        max(value) filter (factor = 'steps')::bigint as steps,
        max(value) filter (factor = 'elapsed_s') as seconds,
        1 - max(value) filter (factor = 'test_prob_diff') as u,
        max(value) filter (factor = 'forget_prob_diff') as f,
        max(value) filter (factor = 'test_accuracy') as test_accuracy_after,
        max(value) filter (factor = 'z') as z,
        max(value) filter (factor = 'z_error') as z_error,
        max(value) filter (factor = 'forgotten') as forgotten
    from factors
    where
        factor in ('steps', 'elapsed_s', 'test_prob_diff', 'forget_prob_diff', 'test_accuracy')
        or factor in ('z', 'z_error', 'forgotten')
    group by run_id
),
defined as (
    select
        s.sweep_id, s.sweep, b.base_run_id, b.base_model, b.base_seed, s.dataset,
        b.data_fingerprint, s.arch, b.recipe, b.test_accuracy as test_accuracy_before,
        1.0 / b.test_samples as lam, r.algorithm, r.provider, r.settings, s.until,
        r.engine_version, r.precision, r.seed, r.sample_id, r.split_position, r.sample_path,
        r.label, coalesce(b.class_names[r.label + 1], r.label::text) as class_name, r.status,
        r.flipped_to, v.* exclude (run_id), t.has_gt, r.start_time, r.key, r.run_id
    from staging.plans as p
    join sweeps as s on s.sweep_id = p.run_id
    join base_models as b on b.base_run_id = s.base_run_id
    join internal.runs as r on r.key = p.key and r.run_status = 'FINISHED'
    left join measured as v on v.run_id = r.run_id
    left join statuses as t on t.status = r.status
    -- Two processes may have done the same thing at once: the later one counts.
    qualify row_number() over (partition by s.sweep_id, r.key order by r.start_time desc) = 1
),
-- Means of ordered lists: an avg would add in any order, and differ in its last bit.
ratio as (
    select
        sweep_id, algorithm,
        list_avg(list(abs(f) order by sample_id))
        / nullif(list_avg(list(abs(u) order by sample_id)), 0) as mean_ratio
    from defined
    where has_gt
    group by sweep_id, algorithm
)
select
    d.sweep_id, d.sweep, d.base_run_id, d.base_model, d.base_seed, d.dataset, d.data_fingerprint,
    d.arch, d.recipe, d.algorithm, d.provider, d.settings, d.until, d.engine_version, d.precision,
    d.seed, d.sample_id, d.split_position, d.sample_path, d.label, d.class_name, d.status,
    d.flipped_to, d.steps, d.seconds, d.f, d.u,
    case when d.has_gt then ground_truth(d.u, d.f, d.lam) end as gt,
    gt / d.lam as gt_share,
    case when gt > 0 then if(d.lam * d.u < d.f, 'utility', 'forgetting') end as regime,
    case when d.has_gt then ground_truth(d.u, d.f, r.mean_ratio) end as gt_mean_ratio,
    case when d.has_gt then ground_truth(d.u, d.f, 1.0) end as gt_one,
    d.z, d.z_error, d.forgotten, verdict(d.forgotten, d.z) as verdict,
    d.test_accuracy_before, d.test_accuracy_after,
    100 * (d.test_accuracy_before - d.test_accuracy_after) as test_points_lost,
    is_damaged(test_points_lost) as is_damaged,
    d.status = 'unchanged'
    or (
        d.status not in ('already_wrong', 'nothing_to_forget', 'non_finite')
        and coalesce(d.f = 0 and d.u = 1, false)
    ) as is_unchanged,
    d.start_time, d.key, d.run_id
from defined as d
left join ratio as r on r.sweep_id = d.sweep_id and r.algorithm = d.algorithm
