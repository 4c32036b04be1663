-- latest_agreement: the rows of agreement of the latest sweep (see latest_sweeps).
-- example: select algorithm_a, algorithm_b, rho from latest_agreement
create view latest_agreement as
from agreement
where sweep_id in (select sweep_id from latest_sweeps)
