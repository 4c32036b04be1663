-- What was predicted of each attempt of one sweep, and what it came to: of the predictions that are
-- shown (see graded_predictions).
select
    o.algorithm, o.sample_id, o.label, o.status,
    ending(o.status, a.test_points_lost, max_loss := $max_loss) as ending,
    p.predicted_gt, o.gt, p.predicted_prob_lost, 1 - o.u as prob_lost, p.predicted_steps, o.steps,
    p.predicted_rank, o.run_id
from graded_predictions($sweep) as g
join predictions as p on p.prediction_id = g.prediction_id and p.algorithm = g.algorithm
join internal.runs as r on r.key = p.key
join internal.outcomes as o on o.run_id = r.run_id and o.sweep_id = $sweep
join attempts as a on a.run_id = o.run_id and a.sweep_id = $sweep
where o.gt is not null and p.predicted_gt is not null
order by o.algorithm, o.sample_id, o.run_id
