-- How strongly each factor of one sweep correlates with GT, the strongest of each phase first.
-- strength: the mean of |rho| over the algorithms for which it is defined. p_choice: how often, by
-- chance, the strongest of all factors of the phase is as strong as this one, where of n pairs
-- |rho| sqrt(n - 1) counts (max T by permuting GT, Westfall & Young 1993). Left out are the
-- ingredients of GT, since their correlation with GT is no question, and what fewer than half of
-- the members have. Needs a function of ours that a plain DuckDB lacks.
with pair as materialized (
    select
        f.phase, p.factor, p.sample_id, p.measured as gt, p.value,
        dense_rank() over (partition by f.phase order by f.position, p.factor) as number,
        dense_rank() over (order by p.algorithm) as algorithm
    from correlation_pairs('set_sizes', null, 'all', $sweep) as p
    join factor_catalog as f on f.factor = p.factor
    where not f.ingredient and p.factor in (
            select factor from correlations
            where sweep_id = $sweep and population = 'all'
            group by factor
            having 2 * sum(n) >= (select count(gt) from internal.outcomes where sweep_id = $sweep)
        )
),
permuted as (
    select phase, choice_p_values(list([number, algorithm, sample_id, gt, value])) as p_values
    from pair
    group by phase
),
named as (
    select distinct phase, number, factor from pair
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
