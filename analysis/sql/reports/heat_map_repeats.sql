-- Spearman's rho of every factor with GT, each averaged over the repeats of one sweep under other
-- seeds of unlearning, in the catalog's order, and the ceiling of that rho for what is known
-- before.
select
    c.factor, f.title, f.family, f.phase, c.algorithm, c.rho as mean_rho, c.n, c.repeats, c.ceiling,
    c.ceiling_low, c.ceiling_high, c.ingredient, c.undefined
from internal.designs as d
join internal.base_correlations as c on c.design = d.design
join factor_catalog as f on f.factor = c.factor
where d.sweep_id = $sweep and c.population = 'all' and c.repeats > 1
order by f.phase = 'post', f.position, c.algorithm
