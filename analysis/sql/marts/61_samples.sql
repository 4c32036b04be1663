-- samples: one row per base model and sample that a sweep asked for: its place in the training
-- split (from 0; its id is its place in the data set's own file), its label, and a column for each
-- factor that is known before unlearning, NULL where it is undefined.
-- example: select label, count(*) as n from samples group by label order by label
create table samples as
with attempt as (
    select s.base_run_id, o.sample_id, r.split_position, o.label, o.run_id, r.start_time
    from outcomes as o
    join sweeps as s on s.sweep_id = o.sweep_id
    join runs as r on r.run_id = o.run_id
),
-- The newest run counts: some of these factors depend on which remaining data it looked at.
known as (
    select
        a.base_run_id, a.sample_id, v.factor,
        max_by(v.value, (a.start_time, a.run_id)) as value
    from attempt as a
    join factors as v on v.run_id = a.run_id
    group by a.base_run_id, a.sample_id, v.factor
),
sample as (
    select
        base_run_id, sample_id, any_value(split_position) as split_position,
        any_value(label) as label
    from attempt
    group by base_run_id, sample_id
)
from (
    pivot (
        select s.*, k.factor, k.value
        from sample as s
        left join known as k on k.base_run_id = s.base_run_id and k.sample_id = s.sample_id
    )
    on factor in (select factor from factor_catalog where phase = 'pre')
    using first(value)
    group by base_run_id, sample_id, split_position, label
)
order by base_run_id, sample_id
