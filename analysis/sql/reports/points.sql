-- The values of every factor in one sweep, a list each: NULL where it is undefined, in the order of
-- the report `members`.
with member as (
    select run_id, algorithm, sample_id
    from outcomes
    where sweep_id = $sweep and gt is not null
)
select
    c.factor, c.title, c.phase, c.unit, c.harder, c.description,
    list(v.value order by m.algorithm, m.sample_id, m.run_id) as values
from member as m
cross join (from factor_catalog where factor != 'gt') as c
left join factors as v on v.run_id = m.run_id and v.factor = c.factor
group by all
having count(v.value) > 0
order by any_value(c.phase = 'post'), any_value(c.position)
