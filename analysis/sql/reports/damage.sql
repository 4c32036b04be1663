-- How many attempts of each sweep came where they were to end, but damaged; max_loss: percentage
-- points of test accuracy beyond which that is so.
select sweep_id, sum(damaged)::bigint as damaged
from summaries(max_loss := $max_loss)
group by sweep_id
order by sweep_id
