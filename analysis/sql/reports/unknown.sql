-- Predictions of one sweep's attempts that are not graded, and why: each with the algorithms.
select prediction_id, refused, list(algorithm order by algorithm) as algorithms
from prediction_scores
where sweep_id = $sweep and target = 'gt' and refused is not null
group by prediction_id, refused, made_at
order by made_at, prediction_id, refused
