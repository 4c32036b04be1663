-- latest_histories: the rows of histories of the attempts of the latest sweep (see latest_sweeps).
-- example: select step, avg(forget_prob) as mean from latest_histories group by step order by step
create view latest_histories as
from histories
where run_id in (select run_id from latest_outcomes)
