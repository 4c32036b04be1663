-- How hard the samples of each class are in one sweep, for each algorithm.
select label, algorithm, n, mean_percentile, mean_gt, flip_rate
from class_difficulty
where sweep_id = $sweep and n > 0
order by label, algorithm
