-- latest_samples: the rows of samples that the latest sweep (see latest_sweeps) attempted, of its
-- base model.
-- example: select sample_id, label from latest_samples
create view latest_samples as
from samples
semi join latest_attempts using (base_run_id, sample_id)
