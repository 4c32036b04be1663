-- summaries(max_loss := 5): one row per sweep and algorithm: what its attempts came to. Samples
-- that the base model misclassifies are left out. retrain, exact unlearning, is the reference.
-- max_loss: percentage points of test accuracy; an attempt that arrives and costs more is damaged.
-- attempts: how many were run.
-- flipped: how many flipped.
-- arrived, damaged: how many came where they were to end, at the flip or at the reference, and how
-- many of these lost more than max_loss.
-- forgotten, over_forgotten, remembered: how many have this verdict, see attempts.
-- unchanged: how many changed nothing at all, as is_unchanged in attempts.
-- test_accuracy_before: of the base model.
-- mean_test_accuracy, flipped_accuracy: of the unlearned networks, and of those that flipped.
-- mean_points_lost, worst_points_lost: of test accuracy, in percentage points, over all attempts.
-- mean_steps, mean_seconds: of an attempt, its steps and elapsed_s.
-- mean_gap: of unlearning_gap, where a model without the sample was trained.
-- mean_z, mean_gt: of z and of GT.
-- example: select algorithm, flipped, damaged, worst_points_lost from summaries(max_loss := 2)
create macro summaries(max_loss := 5) as table
select
    a.sweep_id, a.sweep, a.algorithm, count(*) as attempts,
    count(*) filter (a.status = 'flipped') as flipped,
    count(*) filter (has_arrived(a.status)) as arrived,
    count(*) filter (
        ending(a.status, a.test_points_lost, max_loss := max_loss) = 'damaged'
    ) as damaged,
    count(*) filter (a.verdict = 'forgotten') as forgotten,
    count(*) filter (a.verdict = 'over_forgotten') as over_forgotten,
    count(*) filter (a.verdict = 'remembered') as remembered,
    count(*) filter (a.is_unchanged) as unchanged,
    any_value(a.test_accuracy_before) as test_accuracy_before,
    list_avg(list(a.test_accuracy_after order by a.run_id)) as mean_test_accuracy,
    list_avg(
        list(a.test_accuracy_after order by a.run_id) filter (a.status = 'flipped')
    ) as flipped_accuracy,
    list_avg(list(a.test_points_lost order by a.run_id)) as mean_points_lost,
    max(a.test_points_lost) as worst_points_lost,
    avg(a.steps) as mean_steps,
    list_avg(list(e.value order by a.run_id)) as mean_seconds,
    list_avg(list(g.value order by a.run_id)) as mean_gap,
    list_avg(list(a.z order by a.run_id)) as mean_z,
    list_avg(list(a.gt order by a.run_id)) as mean_gt
from attempts as a
left join factors as e on e.run_id = a.run_id and e.factor = 'elapsed_s'
left join factors as g on g.run_id = a.run_id and g.factor = 'unlearning_gap'
where a.status != 'already_wrong'
group by a.sweep_id, a.sweep, a.algorithm
