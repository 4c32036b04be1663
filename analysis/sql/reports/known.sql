-- How well the outcomes of one sweep were known before it, a row an algorithm and target: of the
-- predictions that are shown (see graded_predictions).
select s.*
from prediction_scores as s
join graded_predictions($sweep) as g
    on g.prediction_id = s.prediction_id and g.algorithm = s.algorithm
where s.sweep_id = $sweep
order by
    s.algorithm, list_position(['gt', 'steps', 'prob_lost', 'points_lost', 'flips'], s.target)
