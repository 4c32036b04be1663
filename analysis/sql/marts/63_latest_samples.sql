-- latest_samples: the rows of samples that the latest sweep (see latest_sweeps) attempted, of its
-- base model.
-- example: select sample_id, label from latest_samples
create view latest_samples as
from samples as s
semi join latest_attempts as a on a.base_run_id = s.base_run_id and a.sample_id = s.sample_id
