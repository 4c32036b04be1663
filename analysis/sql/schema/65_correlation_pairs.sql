-- correlation_pairs(reading, fixed, population, sweep): one row per sweep, algorithm, factor and
-- member that has both the factor and a GT, with the initial margin beside them, and whether it
-- flipped.
-- reading: which lambda GT has: set_sizes (1 / test samples), mean_ratio (mean |F| / mean |U|),
-- one, or fixed, for the value of the argument fixed.
-- population: all; flipped for the members whose prediction flipped; not_flipped for the others.
-- sweep: an id, or NULL for all.
create macro correlation_pairs(reading, fixed, population, sweep) as table
with outcome as (
    select
        sweep_id, algorithm, sample_id, label, run_id, status = 'flipped' as flipped,
        case reading
            when 'set_sizes' then gt
            when 'mean_ratio' then gt_mean_ratio
            when 'one' then gt_one
            when 'fixed' then case when gt is not null then ground_truth(u, f, fixed) end
            else error('reading: set_sizes, mean_ratio, one or fixed')
        end as gt
    from outcomes
    where
        case population
            when 'all' then true
            when 'flipped' then status = 'flipped'
            when 'not_flipped' then status != 'flipped'
            else error('population: all, flipped or not_flipped')
        end
        and (sweep is null or sweep_id = sweep)
)
select
    o.sweep_id, o.algorithm, v.factor, o.sample_id, o.label, o.gt, v.value, m.value as margin,
    o.flipped
from outcome as o
join factors as v on v.run_id = o.run_id
left join factors as m on m.run_id = o.run_id and m.factor = 'margin'
where o.gt is not null and v.factor != 'gt'
