-- Spearman of every factor against GT in one sweep, in the catalog's order.
select
    c.sweep_id, c.dataset, c.algorithm, c.factor, f.title, c.rho,
    case when c.n > 2 then spearman_p_value(c.rho, c.n) end as p_value, c.n, c.undefined
from correlate($reading, $fixed, $population) as c
join factor_catalog as f on f.factor = c.factor
where c.sweep_id = $sweep
order by c.position, c.algorithm
