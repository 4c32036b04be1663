-- How strongly each factor of one sweep correlates with GT, the strongest of each phase first.
-- strength: the mean of |rho| over the algorithms for which it is defined. p_choice: how often, by
-- chance, the strongest of all factors of the phase is as strong as this one (max T by permuting
-- GT, Westfall & Young 1993). There, and in the order, |rho| sqrt(n - 1) counts, since the |rho| of
-- fewer pairs is larger by chance. The ingredients of GT are left out, since their correlation with
-- GT is no question, and factors that fewer than half of the members have. Needs a function of ours
-- that a plain DuckDB lacks.
with known as (
    select p.*, f.phase, f.position
    from correlation_pairs('set_sizes', null, 'all', $sweep) as p
    join factor_catalog as f on f.factor = p.factor
    where not f.ingredient
    qualify
        2 * count(*) over (partition by p.factor)
        >= (select count(gt) from outcomes where sweep_id = $sweep)
),
pair as materialized (
    select
        phase, factor, sample_id, gt, value,
        dense_rank() over (partition by phase order by position, factor) as number,
        dense_rank() over (order by algorithm) as algorithm
    from known
),
permuted as (
    select phase, choice_p_values(list([number, algorithm, sample_id, gt, value])) as p_values
    from pair
    group by phase
),
named as (
    select distinct phase, number, factor from pair
),
spread as (
    select
        n.factor, c.algorithm, abs(c.rho) as strength,
        sqrt((c.n - 1) / (max(c.n) over (partition by n.phase, c.algorithm) - 1)) as share
    from named as n
    join correlations as c on c.factor = n.factor
    where c.sweep_id = $sweep and c.population = 'all'
),
strong as (
    select
        factor, list_avg(list(strength order by algorithm)) as strength,
        list_avg(list(strength * share order by algorithm)) as told, count(*) as algorithms
    from spread
    where strength is not null
    group by factor
)
select
    n.phase, n.factor, f.title, s.strength, s.algorithms, p.p_values[n.number] as p_choice,
    count(*) over (partition by n.phase) as factors
from named as n
join permuted as p on p.phase = n.phase
join strong as s on s.factor = n.factor
join factor_catalog as f on f.factor = n.factor
order by n.phase = 'post', s.told desc, f.position, n.factor
