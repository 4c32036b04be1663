-- What the probability and the loss of the forget sample were after each step, of the runs from one
-- id to another. (Asked for the key alone, SQLite would go by that.)
select v.run_uuid as run_id, v.key, v.step, case when v.is_nan then null else v.value end as value
from metrics as v
where
    v.run_uuid between $1 and $2
    and coalesce(v.key, '') in ('forget_prob', 'forget_loss')
