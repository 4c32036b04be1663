-- How well each prediction of a sweep's attempts knew, an algorithm and target each.
select *
from prediction_scores
where sweep_id = $sweep
order by
    made_at, prediction_id, algorithm,
    list_position(['gt', 'steps', 'prob_lost', 'points_lost', 'flips'], target)
