-- How far the GT of one sweep agrees with itself where it was measured again under other seeds.
select
    algorithm, varied, repeats, n, mean_rho, mean_rho_low, mean_rho_high, ceiling, ceiling_low,
    ceiling_high
from ceilings
where sweep_id = $sweep and target = 'gt'
order by algorithm, varied
