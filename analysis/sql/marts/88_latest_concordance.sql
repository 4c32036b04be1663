-- latest_concordance: the rows of concordance of the latest sweep (see latest_sweeps).
-- example: select w, p_value, n from latest_concordance
create view latest_concordance as
from concordance
where sweep_id in (select sweep_id from latest_sweeps)
