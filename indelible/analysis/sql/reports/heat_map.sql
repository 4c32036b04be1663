-- Spearman of every factor that was measured against GT in one sweep over one population, in the
-- catalog's order.
select
    c.factor, f.title, f.phase, c.algorithm, c.rho, c.ci_low, c.ci_high, c.n, c.p_value, c.p_holm,
    c.p_bh, c.partial_rho, c.within_class_rho, c.ingredient, c.undefined
from correlations as c
join factor_catalog as f on f.factor = c.factor
where c.sweep_id = $sweep and c.population = $population
qualify max(c.n) over (partition by c.factor) > 0
order by f.phase = 'post', f.position, c.algorithm
