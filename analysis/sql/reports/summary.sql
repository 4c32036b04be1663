-- What the attempts of one sweep came to, a row an algorithm; max_loss: percentage points of test
-- accuracy beyond which an attempt that arrived counts as damaged.
select * exclude (sweep_id, sweep)
from summaries(max_loss := $max_loss)
where sweep_id = $sweep
order by algorithm
