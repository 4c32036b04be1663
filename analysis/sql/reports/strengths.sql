-- How strongly each factor of one sweep correlates with GT, the strongest of each phase first.
-- strength: the mean of |rho| over the algorithms for which it is defined. p_choice: how often, by
-- chance, the strongest of all factors of the phase is as strong as this one, where of n pairs
-- |rho| sqrt(n - 1) counts (max T by permuting GT, Westfall & Young 1993). Left out are the
-- ingredients of GT, since their correlation with GT is no question, and what fewer than half of
-- the members have. Needs a function of ours that a plain DuckDB lacks.
with named as (
    select phase, factor, row_number() over (partition by phase order by position, factor) as number
    from factor_catalog
    where not ingredient and factor in (
            select factor from correlations
            where sweep_id = $sweep and population = 'all'
            group by factor
            having 2 * sum(n) >= (select count(gt) from internal.outcomes where sweep_id = $sweep)
        )
),
attempt as (
    select run_id, dense_rank() over (order by algorithm) as algorithm, sample_id, gt
    from internal.outcomes
    where sweep_id = $sweep and gt is not null
),
-- One list an attempt and not one a value, since it is lists that take memory.
listed as (
    select
        n.phase,
        [any_value(a.algorithm), any_value(a.sample_id), any_value(a.gt)]
        || list(v.value order by n.number) as numbers
    from attempt as a
    cross join named as n
    left join factors as v on v.run_id = a.run_id and v.factor = n.factor
    group by n.phase, a.run_id
),
permuted as (
    select phase, choice_p_values(list(numbers)) as p_values
    from listed
    group by phase
),
strong as (
    select factor, list_avg(list(abs(rho) order by algorithm)) as strength, count(*) as algorithms
    from correlations
    where sweep_id = $sweep and population = 'all' and rho is not null
    group by factor
)
select
    n.phase, n.factor, f.title, f.family, f.harder, s.strength, s.algorithms,
    p.p_values[n.number] as p_choice, count(*) over (partition by n.phase) as factors
from named as n
join permuted as p on p.phase = n.phase
join strong as s on s.factor = n.factor
join factor_catalog as f on f.factor = n.factor
order by n.phase = 'post', p_choice, s.strength desc, f.position, n.factor
