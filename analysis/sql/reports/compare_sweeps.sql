-- Two sweeps beside each other, a row a population, algorithm and factor that both have: rho with
-- GT in each with its 95% interval, how much larger it is in the second (difference), and the 95%
-- interval of that, from the intervals of both as Zou (2007) does for two groups that share no
-- sample. Where they share some (shared), the two rho usually rise and fall together, and the
-- interval is then wider than it has to be. apart: whether 0 lies outside of it.
with shared as (
    select a.algorithm, count(*) as shared
    from internal.outcomes as a
    join internal.outcomes as b
        on
            b.sweep_id = $second and b.algorithm = a.algorithm and b.sample_id = a.sample_id
            and b.dataset = a.dataset
    where a.sweep_id = $first
    group by a.algorithm
),
pair as (
    select
        a.population, a.algorithm, a.factor, f.title, f.phase, a.ingredient,
        a.rho as rho_a, a.ci_low as low_a, a.ci_high as high_a, a.n as n_a,
        b.rho as rho_b, b.ci_low as low_b, b.ci_high as high_b, b.n as n_b,
        b.rho - a.rho as difference, coalesce(s.shared, 0) as shared,
        a.undefined as undefined_a, b.undefined as undefined_b, f.position
    from correlations as a
    join correlations as b
        on
            b.sweep_id = $second and b.algorithm = a.algorithm and b.factor = a.factor
            and b.population = a.population
    join factor_catalog as f on f.factor = a.factor
    left join shared as s on s.algorithm = a.algorithm
    where a.sweep_id = $first
),
bounded as (
    select
        *,
        difference - sqrt((rho_b - low_b) ** 2 + (high_a - rho_a) ** 2) as difference_low,
        difference + sqrt((high_b - rho_b) ** 2 + (rho_a - low_a) ** 2) as difference_high
    from pair
)
select * exclude (position), difference_low > 0 or difference_high < 0 as apart
from bounded
order by population, algorithm, phase = 'post', position
