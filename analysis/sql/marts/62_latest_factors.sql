-- latest_factors: the rows of factors of the attempts of the latest sweep (see latest_sweeps).
-- example: select factor, avg(value) as mean from latest_factors group by factor
create view latest_factors as
from factors
where run_id in (select run_id from latest_outcomes)
