-- Spearman's rho of every factor that was measured with GT in one sweep over one population, by the
-- mean of |rho| the strongest families of a phase first, and in them the strongest factors. Where
-- there are three repeats or more: also the mean over them and its interval, over base models if
-- there are several, else over seeds of unlearning.
with repeated as (
    from internal.repeated_correlations
    where sweep_id = $sweep and population = $population and repeats >= 3
        and ci_low is not null
    qualify row_number() over (partition by factor, algorithm order by varied) = 1
),
cell as (
    select
        c.factor, f.title, f.family, f.phase, c.algorithm, c.rho, c.ci_low, c.ci_high, c.n,
        c.p_value, c.p_holm, c.p_bh, c.ci_by, c.at_chance, c.partial_rho, c.within_class_rho,
        c.ingredient, c.undefined, r.varied, r.repeats, r.mean_rho, r.ci_low as repeats_low,
        r.ci_high as repeats_high, f.position,
        round(avg(abs(c.rho)) over (partition by c.factor), 9) as strength
    from correlations as c
    join factor_catalog as f on f.factor = c.factor
    left join repeated as r on r.factor = c.factor and r.algorithm = c.algorithm
    where c.sweep_id = $sweep and c.population = $population
    qualify max(c.n) over (partition by c.factor) > 0
)
select * exclude (position, strength)
from cell
order by
    phase = 'post', max(strength) over (partition by phase, family) desc, family, strength desc,
    position, algorithm
