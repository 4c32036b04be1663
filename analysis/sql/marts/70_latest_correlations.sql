-- latest_correlations: the rows of correlations of the latest sweep (see latest_sweeps).
-- example: select algorithm, factor, rho from latest_correlations where population = 'all'
create view latest_correlations as
from correlations
where sweep_id in (select sweep_id from latest_sweeps)
