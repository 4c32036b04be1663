-- What became of one sample in one sweep, an algorithm each, and what was predicted of it: by the
-- last prediction before the attempt, else by the last one after it (predicted_before is false).
with predicted as (
    select
        p.key, p.prediction_id, p.predicted_gt, p.predicted_steps, p.predicted_flips,
        p.predicted_prob_lost, p.predicted_points_lost,
        not p.attempted_before as before
    from predictions as p
    where p.sample_id = $sample
    qualify
        row_number() over (
            partition by p.key order by p.attempted_before, p.made_at desc, p.prediction_id
        ) = 1
)
select
    o.algorithm, o.sample_id, a.sample_path, o.label, o.status, o.steps,
    o.gt, o.gt_share, o.regime, o.f, o.u, a.z, a.z_error, a.verdict, a.test_points_lost,
    d.difficulty_rank, d.tied, d.place, d.ordered_by, d.percentile,
    p.predicted_gt, p.predicted_steps, p.predicted_flips, p.predicted_prob_lost,
    p.predicted_points_lost,
    p.prediction_id, p.before as predicted_before, o.run_id, r.experiment_id
from internal.outcomes as o
join internal.runs as r on r.run_id = o.run_id
join attempts as a on a.sweep_id = o.sweep_id and a.run_id = o.run_id
left join internal.difficulty as d on d.sweep_id = o.sweep_id and d.run_id = o.run_id
left join predicted as p on p.key = r.key
where o.sweep_id = $sweep and o.sample_id = $sample
order by o.algorithm
