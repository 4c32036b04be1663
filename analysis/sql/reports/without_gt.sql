-- The attempts of one sweep that have no GT: of samples that the base model misclassifies, and
-- those that left the finite numbers.
select algorithm, sample_id, sample_path, label, status, steps, run_id
from attempts
where sweep_id = $sweep and gt is null
order by algorithm, sample_id, run_id
