-- internal.repeats: one row per design (see designs), target, repeat and sample that has it. Of a
-- design those repeats are here that share their samples, so that a later one of other samples
-- takes nothing away. They are chosen so: with each repeat go those that have at least nine tenths
-- of its samples. Of these sets of repeats the one is taken for which (repeats - 1) x samples of
-- the first is the most, where fewer than four samples count as none; of equals the one of more
-- samples, then of the lowest seed. Where no two repeats share enough, one is left (repeats = 1).
-- sweeps: how many sweeps the repeats are of.
-- example: select distinct algorithm, repeats, repeat_seed from internal.repeats order by all
create table internal.repeats as
with designed as (
    select
        d.design, d.sweep_id, d.repeat_seed, a.sample_id, t.target, t.measured, a.run_id
    from internal.designs as d
    join attempts as a
        on a.sweep_id = d.sweep_id and a.algorithm = d.algorithm and a.settings = d.settings
    join internal.targets as t on t.run_id = a.run_id
),
-- A member that several sweeps asked for, or that was done twice, counts once.
once as (
    from designed
    qualify
        row_number() over (partition by design, target, repeat_seed, sample_id order by run_id) = 1
),
sized as (
    select
        design, target, repeat_seed, sample_id,
        count(*) over (partition by design, target, repeat_seed) as samples
    from once
),
shared as (
    select a.design, a.target, a.repeat_seed as of_seed, a.samples, b.repeat_seed
    from sized as a
    join sized as b
        on b.design = a.design and b.target = a.target and b.sample_id = a.sample_id
    group by a.design, a.target, a.repeat_seed, a.samples, b.repeat_seed
    having 10 * count(*) >= 9 * a.samples
),
candidate as (
    select
        design, target, of_seed, samples, count(*) as repeats,
        list(repeat_seed order by repeat_seed) as seeds
    from shared
    group by design, target, of_seed, samples
),
chosen as (
    select design, target, repeats, seeds
    from candidate
    qualify
        row_number() over (
            partition by design, target
            order by if(samples < 4, 0, (repeats - 1) * samples) desc, samples desc, of_seed
        ) = 1
),
swept as (
    select d.design, d.target, count(distinct d.sweep_id) as sweeps
    from designed as d
    join chosen as c
        on c.design = d.design and c.target = d.target and list_contains(c.seeds, d.repeat_seed)
    group by d.design, d.target
)
select
    o.design, d.varied, d.dataset, d.arch, d.recipe, d.data_fingerprint, d.algorithm, d.provider,
    d.settings, d.engine_version, d.precision, d.base_run_id, d.seed, o.target, c.repeats, s.sweeps,
    list_position(c.seeds, o.repeat_seed) as repeat, o.repeat_seed, o.sample_id, o.run_id,
    o.measured
from once as o
join chosen as c
    on c.design = o.design and c.target = o.target and list_contains(c.seeds, o.repeat_seed)
join swept as s on s.design = o.design and s.target = o.target
join internal.designs as d
    on d.design = o.design and d.sweep_id = o.sweep_id and d.repeat_seed = o.repeat_seed
order by o.design, o.target, repeat, o.sample_id
