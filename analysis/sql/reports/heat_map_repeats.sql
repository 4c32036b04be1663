-- Spearman of every factor with GT, both as means over the repeats of one sweep under other seeds of
-- unlearning, in the catalog's order, beside the most to expect of what is known before.
with done as (
    select distinct s.base_run_id, r.algorithm, r.settings, r.engine_version, r.precision
    from outcomes as o
    join runs as r on r.run_id = o.run_id
    join sweeps as s on s.sweep_id = o.sweep_id
    where o.sweep_id = $sweep
)
select
    c.factor, f.title, f.phase, c.algorithm, c.rho as mean_rho, c.n, c.repeats, c.ceiling,
    c.ceiling_low, c.ceiling_high, c.ingredient, c.undefined
from done as d
join base_correlations as c
    on c.base_run_id = d.base_run_id and c.algorithm = d.algorithm and c.settings = d.settings
    and c.engine_version = d.engine_version and c.precision = d.precision
join factor_catalog as f on f.factor = c.factor
where c.population = 'all' and c.repeats > 1
order by f.phase = 'post', f.position, c.algorithm
