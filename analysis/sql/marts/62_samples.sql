-- samples: one row per base model and sample that a sweep asked for: its place in the training
-- split (from 0; its id is its place in the data set's own file), its label, and a column for each
-- factor that is known before unlearning, NULL where it is undefined.
-- example: select label, count(*) as n from samples group by label order by label
create table samples as
-- The newest run counts: some of these factors depend on which remaining data it looked at.
with known as (
    select
        a.base_run_id, a.sample_id, v.factor,
        max_by(v.value, (a.start_time, a.run_id)) as value
    from attempts as a
    join factors as v on v.run_id = a.run_id
    group by a.base_run_id, a.sample_id, v.factor
),
sample as (
    select
        base_run_id, sample_id, any_value(split_position) as split_position,
        any_value(label) as label
    from attempts
    group by base_run_id, sample_id
)
select *
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
