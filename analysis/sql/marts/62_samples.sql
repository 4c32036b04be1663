-- samples: one row per base model and sample that a sweep asked for or that was measured, with a
-- column for each factor that is known before unlearning, NULL where it is undefined.
-- example: select label, count(*) as n from samples group by label order by label
create table samples as
-- What is kept with the base model counts, of several values the last that was written; else that
-- of the newest attempt.
with measured as (
    select
        s.run_id as base_run_id, s.sample_id, any_value(s.split_position) as split_position,
        any_value(s.label) as label, max(s.sample_path) as sample_path, s.factor,
        arg_max(coalesce(s.value, 'nan'), s.at) as value
    from staging.samples as s
    join base_models as b on b.base_run_id = s.run_id
    group by s.run_id, s.sample_id, s.factor
),
attempted as (
    select
        a.base_run_id, a.sample_id, v.factor,
        max_by(v.value, (a.start_time, a.run_id)) as value
    from attempts as a
    join factors as v on v.run_id = a.run_id
    join factor_catalog as c on c.factor = v.factor and c.phase = 'pre'
    anti join measured as m
        on m.base_run_id = a.base_run_id and m.sample_id = a.sample_id and m.factor = v.factor
    group by a.base_run_id, a.sample_id, v.factor
),
known as (
    select base_run_id, sample_id, factor, value from measured where not isnan(value)
    union all
    from attempted
),
sample as (
    select
        base_run_id, sample_id, any_value(split_position) as split_position,
        max(sample_path) as sample_path, any_value(label) as label
    from (
        select base_run_id, sample_id, split_position, sample_path, label from attempts
        union all
        select base_run_id, sample_id, split_position, sample_path, label from measured
    ) as every
    group by base_run_id, sample_id
)
select *
from (
    pivot (
        select
            s.*, coalesce(b.class_names[s.label + 1], s.label::text) as class_name, k.factor,
            k.value
        from sample as s
        join base_models as b on b.base_run_id = s.base_run_id
        left join known as k on k.base_run_id = s.base_run_id and k.sample_id = s.sample_id
    )
    on factor in (select factor from factor_catalog where phase = 'pre')
    using first(value)
    group by base_run_id, sample_id, split_position, sample_path, label, class_name
)
order by base_run_id, sample_id
