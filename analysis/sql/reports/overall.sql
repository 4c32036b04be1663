-- The samples of one sweep that have a GT, over the algorithms that seed_agreement counts: their
-- place, how sure the base model was of them, and what it took to unlearn them, as means over the
-- attempts. arrived: how many came where they were to end; damaged: how many of these cost more
-- than $max_loss percentage points of test accuracy.
with attempt as (
    select
        a.sample_id, any_value(a.sample_path) as sample_path, count(*) as attempts,
        count(*) filter (has_arrived(a.status)) as arrived,
        count(*) filter (
            ending(a.status, a.test_points_lost, max_loss := $max_loss) = 'damaged'
        ) as damaged,
        any_value(c.value) as confidence, any_value(m.value) as margin,
        list_avg(list(a.steps order by a.algorithm)) as mean_steps,
        any_value(a.test_accuracy_before) as accuracy_before,
        list_avg(list(a.test_accuracy_after order by a.algorithm)) as accuracy_after,
        list_avg(list(a.test_points_lost order by a.algorithm)) as mean_points_lost
    from attempts as a
    join internal.seed_agreement as s
        on s.sweep_id = a.sweep_id and s.algorithm = a.algorithm and s.is_counted
    left join factors as c on c.run_id = a.run_id and c.factor = 'confidence'
    left join factors as m on m.run_id = a.run_id and m.factor = 'margin'
    where a.sweep_id = $sweep and a.gt is not null
    group by a.sample_id
)
select o.*, a.* exclude (sample_id), s.until
from overall_difficulty($sweep) as o
join attempt as a on a.sample_id = o.sample_id
join sweeps as s on s.sweep_id = $sweep
order by o.from_hardest
