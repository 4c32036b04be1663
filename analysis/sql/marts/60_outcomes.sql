-- outcomes: one row per finished member of a sweep: U, F and GT. A member that was already there
-- when a later sweep asked for it belongs to both.
-- gt_share: GT / lambda = U F / (lambda U + F), with lambda = 1 / test samples. It lies between 0
-- and U, so it is above 1 only where the test set gained.
-- regime: which of the two parts of GT bounds it: 'utility' where lambda U is smaller than F (GT
-- is nearly lambda U where it is much smaller), else 'forgetting' (GT is nearly F where F is much
-- smaller); NULL where GT is 0 or undefined. The order of the members by GT may still follow the
-- other part, if that is the one that varies.
-- gt_mean_ratio, gt_one: GT with another lambda: mean |F| / mean |U| of the sweep and algorithm,
-- and 1.
-- example: select algorithm, label, avg(gt) as gt from outcomes group by all order by gt
create table outcomes as
with member as (
    select
        s.sweep_id, s.dataset, s.arch, 1.0 / b.test_samples as lam,
        r.run_id, r.algorithm, r.sample_id, r.label, r.status
    from staging.plans as p
    join sweeps as s on s.sweep_id = p.run_id
    join base_models as b on b.base_run_id = s.base_run_id
    join runs as r on r.key = p.key and r.run_status = 'FINISHED'
    -- Two processes may have done the same thing at once: the later one counts.
    qualify row_number() over (partition by s.sweep_id, r.key order by r.start_time desc) = 1
),
measured as (
    select
        run_id,
        max(value) filter (factor = 'steps')::bigint as steps,
        1 - max(value) filter (factor = 'test_prob_diff') as u,
        max(value) filter (factor = 'forget_prob_diff') as f
    from factors
    group by run_id
),
defined as (
    select m.*, v.steps, v.u, v.f, s.has_gt
    from member as m
    left join measured as v on v.run_id = m.run_id
    left join statuses as s on s.status = m.status
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
    d.run_id, d.sweep_id, d.dataset, d.arch, d.algorithm, d.sample_id, d.label, d.status, d.steps,
    d.f, d.u,
    case when d.has_gt then ground_truth(d.u, d.f, d.lam) end as gt,
    gt / d.lam as gt_share,
    case when gt > 0 then if(d.lam * d.u < d.f, 'utility', 'forgetting') end as regime,
    case when d.has_gt then ground_truth(d.u, d.f, r.mean_ratio) end as gt_mean_ratio,
    case when d.has_gt then ground_truth(d.u, d.f, 1.0) end as gt_one
from defined as d
left join ratio as r on r.sweep_id = d.sweep_id and r.algorithm = d.algorithm
