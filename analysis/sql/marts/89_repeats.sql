-- repeats: one row per design, repeat and sample that has a GT in it. A design is all that repeats
-- share: data set, architecture, recipe, algorithm with its settings, version and precision, and
-- base model (source 'unlearning seed') or seed of unlearning ('base model seed'); repeat_seed is
-- the other seed, which alone tells them apart. Of a design those repeats are here that share their
-- samples, so that a later one of other samples takes nothing away: of each repeat's samples, the
-- repeats that have at least nine tenths of them (itself among them) are a set, and that set is
-- taken for which (repeats - 1) x these samples is the most, fewer than four samples counting as
-- none; of equals the one of more samples, then of the lowest seed. A set of one (repeats = 1) is
-- left where no two share enough.
-- design: its number; repeats: how many are in the set; repeat: from 1 on, by repeat_seed; sweeps:
-- how many sweeps they are of.
-- example: select distinct source, algorithm, repeats, repeat_seed from repeats order by all
create table repeats as
with measured as (
    select
        b.dataset, b.arch, b.recipe, b.data_fingerprint, b.base_run_id, b.seed as base_seed,
        r.algorithm, r.settings, r.engine_version, r.precision, r.seed, o.sweep_id, o.sample_id,
        o.gt, o.run_id
    from outcomes as o
    join runs as r on r.run_id = o.run_id
    join sweeps as s on s.sweep_id = o.sweep_id
    join base_models as b on b.base_run_id = s.base_run_id
    where o.gt is not null
),
sourced as (
    select
        'unlearning seed' as source, seed as repeat_seed, * replace (null as seed)
    from measured
    union all by name
    select
        'base model seed' as source, base_seed as repeat_seed, * replace (null as base_run_id)
    from measured
),
designed as (
    select
        * exclude (base_seed),
        dense_rank() over (order by
            source, dataset, arch, recipe, data_fingerprint, base_run_id, algorithm, settings,
            engine_version, precision, seed
        ) as design
    from sourced
    where repeat_seed is not null
),
-- A member that several sweeps asked for, or that was done twice, counts once.
once as (
    from designed
    qualify row_number() over (partition by design, repeat_seed, sample_id order by run_id) = 1
),
sized as (
    select
        design, repeat_seed, sample_id,
        count(*) over (partition by design, repeat_seed) as samples
    from once
),
shared as (
    select a.design, a.repeat_seed as of_seed, a.samples, b.repeat_seed
    from sized as a
    join sized as b on b.design = a.design and b.sample_id = a.sample_id
    group by a.design, a.repeat_seed, a.samples, b.repeat_seed
    having 10 * count(*) >= 9 * a.samples
),
candidate as (
    select
        design, of_seed, samples, count(*) as repeats,
        list(repeat_seed order by repeat_seed) as seeds
    from shared
    group by design, of_seed, samples
),
chosen as (
    select design, repeats, seeds
    from candidate
    qualify row_number() over (
        partition by design
        order by if(samples < 4, 0, (repeats - 1) * samples) desc, samples desc, of_seed
    ) = 1
),
swept as (
    select d.design, count(distinct d.sweep_id) as sweeps
    from designed as d
    join chosen as c on c.design = d.design and list_contains(c.seeds, d.repeat_seed)
    group by d.design
)
select
    o.design, o.source, o.dataset, o.arch, o.recipe, o.data_fingerprint, o.algorithm, o.settings,
    o.engine_version, o.precision, o.base_run_id, o.seed, c.repeats, s.sweeps,
    list_position(c.seeds, o.repeat_seed) as repeat, o.repeat_seed, o.sample_id, o.run_id, o.gt
from once as o
join chosen as c on c.design = o.design and list_contains(c.seeds, o.repeat_seed)
join swept as s on s.design = o.design
order by o.design, repeat, o.sample_id
