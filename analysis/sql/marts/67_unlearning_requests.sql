-- unlearning_requests: one row per finished unlearning and sample that it was asked to forget: what
-- became of it.
-- ended: until the flip 'forgotten' (its own steps made the prediction another one than the base
-- model's), 'misclassified' (steps for others alone did), 'remembered' (it is the same) or
-- 'already_wrong' (the base model got it wrong, so that nothing was unlearned); until the reference
-- 'forgotten', 'over_forgotten' or 'remembered', by z; 'never_seen' where the model was trained
-- without it.
-- is_wrong_now: whether its prediction is not its label now, whatever the base model said.
-- request_rounds, request_steps: rounds that it took part in, and optimiser steps that were taken
-- in these; of several samples at once, those of all of them.
-- request_points_lost: by these steps, of test accuracy, in percentage points; NULL for several
-- samples at once.
-- final_forget_prob: the probability of its label under the weights that the unlearning came to.
-- z_untouched, z_retrained: z in the base model, and in one trained without the requests.
-- example: select sample_id, ended, final_forget_prob from unlearning_requests
create table unlearning_requests as
select
    q.run_id as unlearning_id, q.place as request_place, q.sample_id, q.label,
    coalesce(q.sample_path, '') as sample_path, q.ended, q.is_wrong_now,
    q.rounds as request_rounds, q.steps as request_steps,
    q.points_lost as request_points_lost,
    case when not isnan(q.forget_prob) then q.forget_prob end as final_forget_prob,
    q.z, q.z_error, q.z_limit, q.z_untouched, q.z_retrained
from staging.requests as q
join unlearnings as u on u.unlearning_id = q.run_id
order by q.run_id, q.place
