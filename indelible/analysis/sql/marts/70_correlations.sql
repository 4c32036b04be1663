-- correlations: one row per sweep, algorithm and factor: Spearman's rho of the factor against GT
-- over all members with a GT (lambda = set sizes), its two-sided p-value and the number of pairs.
create table correlations as
select
    sweep_id, dataset, algorithm, factor, rho,
    case when n > 2 then spearman_p_value(rho, n) end as p_value, n, undefined
from correlate('set_sizes', null, 'all')
order by sweep_id, algorithm, position
