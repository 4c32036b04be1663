-- latest_attempts: the rows of attempts of the latest sweep (see latest_sweeps).
-- example: select algorithm, status, count(*) as n from latest_attempts group by all
create view latest_attempts as
from attempts
where sweep_id in (select sweep_id from latest_sweeps)
