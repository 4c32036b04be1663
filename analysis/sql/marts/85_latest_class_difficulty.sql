-- latest_class_difficulty: the rows of class_difficulty of the latest sweep (see latest_sweeps).
-- example: select label, algorithm, mean_percentile from latest_class_difficulty
create view latest_class_difficulty as
from class_difficulty
where sweep_id in (select sweep_id from latest_sweeps)
