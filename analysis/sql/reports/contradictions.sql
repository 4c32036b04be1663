-- The factors of one sweep that the measurements contradict: which end of them is hard, says the
-- catalog (harder), but with more than half of the algorithms the 95% interval of rho says it is
-- the other end. GT is small where a sample is hard, so that rho should be below 0 where high
-- values are hard. against: the algorithms whose interval says so; lean: how many more have a rho
-- on that side of 0. Ingredients of GT, and attacks that are not known to be better than chance,
-- are left out.
with measured as (
    select
        f.factor, f.title, f.phase, f.harder, f.position, c.algorithm,
        if(f.harder = 'high', c.rho, -c.rho) as towards,
        if(f.harder = 'high', c.ci_low, -c.ci_high) as towards_low
    from correlations as c
    join factor_catalog as f on f.factor = c.factor
    where
        c.sweep_id = $sweep and c.population = 'all' and c.rho is not null and not c.ingredient
        and not coalesce(c.at_chance, false)
)
select
    factor, any_value(title) as title, any_value(phase) as phase, any_value(harder) as harder,
    count(*) as algorithms,
    list(algorithm order by algorithm) filter (towards_low > 0) as against,
    count(*) filter (towards > 0) - count(*) filter (towards_low > 0) as lean
from measured
group by factor
having count(*) filter (towards_low > 0) > count(*) / 2
order by any_value(phase = 'post'), any_value(position), factor
