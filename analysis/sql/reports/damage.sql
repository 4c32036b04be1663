-- How many flips of each sweep are damaged; max_loss: percentage points of test accuracy beyond
-- which a flip counts as damage.
select sweep_id, sum(damaged)::bigint as damaged
from summaries(max_loss := $max_loss)
group by sweep_id
order by sweep_id
