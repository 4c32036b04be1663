-- latest_difficulty: the rows of difficulty of the latest sweep (see latest_sweeps).
-- example: select algorithm, sample_id, gt from latest_difficulty where difficulty_rank <= 5
create view latest_difficulty as
from difficulty
where sweep_id in (select sweep_id from latest_sweeps)
