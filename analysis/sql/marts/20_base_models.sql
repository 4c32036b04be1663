-- base_models: one row per finished base model.
-- data_source: where its data come from and how much of them was taken, as JSON.
-- train_samples, test_samples: how many samples it was trained on, and how many its accuracy is
-- measured on.
-- train_accuracy, test_accuracy: the share of them that it gets right, from 0 to 1.
-- trained_at: when its training began, UTC.
-- example: select base_model, arch, base_seed, test_accuracy from base_models
create table base_models as
with param as (
    select
        run_id,
        max(value) filter (key = 'dataset') as dataset,
        max(value) filter (key = 'source') as source,
        max(value) filter (key = 'arch') as arch,
        try_cast(max(value) filter (key = 'seed') as bigint) as seed,
        try_cast(max(value) filter (key = 'train_samples') as bigint) as train_samples,
        try_cast(max(value) filter (key = 'test_samples') as bigint) as test_samples,
        string_agg(key || '=' || value, ', ' order by key) filter (key not in (
            'dataset', 'source', 'arch', 'seed', 'train_samples', 'test_samples', 'device'
        )) as recipe
    from staging.params
    group by run_id
),
tag as (
    select run_id, max(value) filter (key = 'data_fingerprint') as data_fingerprint
    from staging.tags
    group by run_id
),
metric as (
    select
        run_id,
        max(value) filter (key = 'train_accuracy') as train_accuracy,
        max(value) filter (key = 'test_accuracy') as test_accuracy
    from staging.metrics
    group by run_id
)
select
    r.run_id as base_run_id, r.name as base_model, p.dataset, p.source as data_source, p.arch,
    p.seed as base_seed, p.recipe,
    p.train_samples, p.test_samples, m.train_accuracy, m.test_accuracy, t.data_fingerprint,
    r.start_time as trained_at
from staging.runs as r
join param as p on p.run_id = r.run_id
join metric as m on m.run_id = r.run_id
left join tag as t on t.run_id = r.run_id
where r.kind = 'base_model' and r.status = 'FINISHED'
