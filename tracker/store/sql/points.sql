-- Every value of metrics; NaN is NULL.
select
    run_uuid as run_id, key, timestamp, step, case when is_nan then null else value end as value
from metrics
