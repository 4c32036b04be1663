-- latest_outcomes: the rows of outcomes of the latest sweep (see latest_sweeps).
-- example: select algorithm, avg(gt) as gt from latest_outcomes group by algorithm
create view latest_outcomes as
from outcomes
where sweep_id in (select sweep_id from latest_sweeps)
