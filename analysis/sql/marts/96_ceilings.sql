-- ceilings: one row per sweep, algorithm, target and what was varied in repeats, where the sweep is
-- one of the repeats: the reliability of one measurement of the target, and the most to expect of a
-- factor's correlation with it, both with their 95% intervals: see the column ceiling of
-- reliability for which factors it holds.
-- example: select target, ceiling from ceilings where sweep_id = find_sweep('latest')
create table ceilings as
select
    d.sweep_id, d.algorithm, d.varied, t.target, t.repeats, t.n, t.mean_rho, t.mean_rho_low,
    t.mean_rho_high, t.ceiling, t.ceiling_low, t.ceiling_high
from internal.designs as d
join internal.reliability as t on t.design = d.design
order by d.sweep_id, d.algorithm, d.varied, t.target
