-- How often attempts of one sweep flipped, by the predicted probability: of the predictions that
-- are shown (see graded_predictions), for algorithms of which some attempts flipped and some not.
select c.algorithm, c.low, c.high, c.n, c.predicted, c.flip_rate as flipped
from internal.flip_calibration as c
join graded_predictions($sweep) as g
    on g.prediction_id = c.prediction_id and g.algorithm = c.algorithm
where c.sweep_id = $sweep
qualify
    sum(c.n * c.flip_rate) over (partition by c.algorithm)
    between 0.5 and sum(c.n) over (partition by c.algorithm) - 0.5
order by c.algorithm, c.low
