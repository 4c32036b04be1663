-- What the probability and the loss of the forget sample were after each step, of all runs of this
-- tool that are not deleted.
select v.run_uuid as run_id, v.key, v.step, case when v.is_nan then null else v.value end as value
from metrics as v
where
    v.key in ('forget_prob', 'forget_loss')
    and v.run_uuid in (
        select r.run_uuid
        from runs as r
        join experiments as e on e.experiment_id = r.experiment_id
        where e.name like 'indelible/%' and r.lifecycle_stage = 'active'
    )
