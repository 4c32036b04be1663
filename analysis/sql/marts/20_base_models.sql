-- base_models: one row per finished base model.
-- data_source: where its data come from and how much of them was taken, as JSON.
-- train_samples, test_samples: how many samples it was trained on, and how many its accuracy is
-- measured on.
-- train_accuracy, test_accuracy: the share of them that it gets right, from 0 to 1.
-- reference_accuracy: the mean test accuracy of its reference models; NULL where there are none.
-- class_names: the names of its classes, the one of label 0 first; NULL where they were not logged.
-- trained_at: when its training began, UTC.
-- example: select base_model, arch, base_seed, test_accuracy from base_models
create table base_models as
select
    run_id as base_run_id, name as base_model, params['dataset'] as dataset,
    params['source'] as data_source, params['arch'] as arch,
    try_cast(params['seed'] as bigint) as base_seed,
    array_to_string([
        param.key || '=' || param.value for param in map_entries(params)
        if param.key not in (
            'dataset', 'source', 'arch', 'seed', 'train_samples', 'test_samples', 'device'
        )
    ], ', ') as recipe,
    try_cast(params['train_samples'] as bigint) as train_samples,
    try_cast(params['test_samples'] as bigint) as test_samples,
    metrics['train_accuracy'] as train_accuracy, metrics['test_accuracy'] as test_accuracy,
    metrics['reference/test_accuracy'] as reference_accuracy,
    tags['data_fingerprint'] as data_fingerprint,
    try_cast(try_cast(tags['class_names'] as json) as varchar[]) as class_names,
    start_time as trained_at
from logged('base_model')
where status = 'FINISHED' and params is not null and metrics is not null
