-- internal.designs: one row per sweep, algorithm with its settings, and what was varied in repeats:
-- the design of which the sweep's attempts with this algorithm are one repeat. A design is all that
-- its repeats share: data set, architecture, recipe, algorithm with its provider and settings,
-- version and precision, and one thing more: the base model, where the repeats differ in the seed
-- of unlearning (varied is 'unlearning seed'), or the seed of unlearning, where they differ in the
-- base model's ('base model seed'). The column of what they differ in, base_run_id or seed, is
-- NULL. Repeats that share the seed of unlearning share its chance too, where an algorithm draws
-- batches or labels: a part of their agreement is the seed's.
-- example: select varied, algorithm, repeat_seed from internal.designs order by all
create table internal.designs as
with done as (
    select distinct
        sweep_id, dataset, arch, recipe, data_fingerprint, algorithm, provider, settings,
        engine_version, precision, base_run_id, base_seed, seed
    from attempts
    where sweep_id in (select sweep_id from sweeps where study is null)
),
sourced as (
    select
        'unlearning seed' as varied, seed as repeat_seed, * replace (null as seed)
    from done
    union all by name
    select
        'base model seed' as varied, base_seed as repeat_seed, * replace (null as base_run_id)
    from done
)
select
    sweep_id,
    dense_rank() over (
        order by
            varied, dataset, arch, recipe, data_fingerprint, base_run_id, algorithm, provider,
            settings, engine_version, precision, seed
    ) as design,
    varied, dataset, arch, recipe, data_fingerprint, algorithm, provider, settings,
    engine_version, precision, base_run_id, seed, repeat_seed
from sourced
where repeat_seed is not null
order by design, repeat_seed, sweep_id
