-- One sweep with its base model.
select
    s.sweep_id, s.sweep as name, s.dataset, s.arch, s.samples, s.seed, s.until,
    s.planned, s.finished, s.started_at as start_time, s.experiment_id,
    b.base_run_id, b.base_model as base_name, b.data_source as source, b.data_fingerprint,
    b.train_samples, b.test_samples, b.train_accuracy, b.test_accuracy,
    b.reference_accuracy,
    (select max(a.precision) from attempts as a where a.sweep_id = s.sweep_id) as precision
from sweeps as s
join base_models as b on b.base_run_id = s.base_run_id
where s.sweep_id = $sweep
