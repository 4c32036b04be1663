-- correlate(reading, fixed, population): one row per sweep, algorithm and factor: Spearman's rho
-- of the factor against GT, with ties at their average rank and incomplete pairs left out.
-- reading: set_sizes, mean_ratio, one, or anything else for lambda = fixed.
-- population: all, or flipped for the members whose prediction flipped.
create macro correlate(reading, fixed, population) as table
with outcome as (
    select
        sweep_id, dataset, algorithm, run_id,
        case reading
            when 'set_sizes' then gt
            when 'mean_ratio' then gt_mean_ratio
            when 'one' then gt_one
            else case when gt is not null then ground_truth(u, f, fixed) end
        end as gt
    from outcomes
    where population = 'all' or status = 'flipped'
),
pairs as (
    select o.sweep_id, o.algorithm, v.factor, o.gt, v.value
    from outcome as o
    join factors as v on v.run_id = o.run_id
    where o.gt is not null and v.factor != 'gt'
),
ranked as (
    select
        sweep_id, algorithm, factor,
        twice_average_rank(gt, (sweep_id, algorithm, factor)) as gt_rank,
        twice_average_rank(value, (sweep_id, algorithm, factor)) as value_rank
    from pairs
),
found as (
    select
        sweep_id, algorithm, factor,
        pearson(value_rank, gt_rank) as rho,
        count(*) as n,
        min(value_rank) = max(value_rank) as constant_factor,
        min(gt_rank) = max(gt_rank) as constant_gt
    from ranked
    group by sweep_id, algorithm, factor
),
asked as (
    select s.sweep_id, s.dataset, s.algorithm, c.factor, c.position
    from (select distinct sweep_id, dataset, algorithm from outcomes) as s
    cross join (from factor_catalog where factor != 'gt') as c
)
select
    a.sweep_id, a.dataset, a.algorithm, a.factor, f.rho,
    coalesce(f.n, 0) as n,
    case
        when f.n is null then 'no values'
        when f.n < 2 then 'one value'
        when f.constant_factor then 'constant factor'
        when f.constant_gt then 'constant gt'
    end as undefined,
    a.position
from asked as a
left join found as f
    on f.sweep_id = a.sweep_id and f.algorithm = a.algorithm and f.factor = a.factor
