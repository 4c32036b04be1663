-- The latest metrics of the runs from one id to another.
select v.run_uuid as run_id, v.key, case when v.is_nan then null else v.value end as value
from latest_metrics as v
where v.run_uuid between $1 and $2
