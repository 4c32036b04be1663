-- A sweep whose base model is not in the store: its members have no outcomes.
select
    s.sweep_id as run_id, s.sweep as name,
    'its base model ' || coalesce(s.base_run_id, '') || ' is not in the store: bring that run back '
    || 'in MLflow, where it was deleted' as problem,
    'none' as repair
from sweeps as s
anti join base_models as b on b.base_run_id = s.base_run_id
