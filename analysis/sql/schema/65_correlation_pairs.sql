-- correlation_pairs(reading, fixed, population, sweep, target := 'gt'): one row per sweep,
-- algorithm, factor and member that has both the factor and the target, with the initial margin
-- beside them, and whether it flipped.
-- reading: which lambda GT has: set_sizes (1 / test samples), mean_ratio (mean |F| / mean |U|),
-- one, or fixed, for the value of the argument fixed; of no effect with another target.
-- population: all; flipped for the members whose prediction flipped; not_flipped for the others.
-- sweep: an id, or NULL for all.
-- member: a number for each member, in one answer.
create macro correlation_pairs(reading, fixed, population, sweep, target := 'gt') as table
with outcome as (
    select
        o.sweep_id, o.algorithm, o.sample_id, o.label, o.run_id, o.status = 'flipped' as flipped,
        case
            when target in ('z', 'points_lost', 'relearn_steps', 'unlearning_gap', 'auc')
                then t.measured
            when target != 'gt'
                then error('target: gt, z, points_lost, relearn_steps, unlearning_gap or auc')
            when reading = 'set_sizes' then o.gt
            when reading = 'mean_ratio' then o.gt_mean_ratio
            when reading = 'one' then o.gt_one
            when reading = 'fixed'
                then case when o.gt is not null then ground_truth(o.u, o.f, fixed) end
            else error('reading: set_sizes, mean_ratio, one or fixed')
        end as measured,
        row_number() over () as member
    from internal.outcomes as o
    left join internal.targets as t on t.run_id = o.run_id and t.target = target
    where
        case population
            when 'all' then true
            when 'flipped' then o.status = 'flipped'
            when 'not_flipped' then o.status != 'flipped'
            else error('population: all, flipped or not_flipped')
        end
        and (sweep is null or o.sweep_id = sweep)
)
select
    o.sweep_id, o.algorithm, v.factor, target as target, o.sample_id, o.label, o.measured, v.value,
    m.value as margin, o.flipped, o.member
from outcome as o
join factors as v on v.run_id = o.run_id
left join factors as m on m.run_id = o.run_id and m.factor = 'margin'
where o.measured is not null and v.factor != target
