-- What the index predicted of one sweep's attempts that is not graded: why, of which algorithms.
select prediction_id, refused, list(algorithm order by algorithm) as algorithms
from prediction_scores
where sweep_id = $sweep and target = 'gt' and refused is not null
group by prediction_id, refused, made_at
order by made_at, prediction_id, refused
