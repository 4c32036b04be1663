-- The latest value of each metric; NaN is NULL.
select run_uuid as run_id, key, case when is_nan then null else value end as value
from latest_metrics
