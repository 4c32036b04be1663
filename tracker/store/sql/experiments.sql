-- This tool's experiments, deleted ones too: where their artifacts are, and their store's id.
select e.experiment_id, e.artifact_location, t.value as store
from experiments as e
left join experiment_tags as t
    on t.experiment_id = e.experiment_id and t.key = 'indelible.store'
where e.name like 'indelible/%'
