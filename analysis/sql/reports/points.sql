-- The values of every factor in one sweep, a list each: NULL where it is undefined, in the order of
-- the report `members`.
with member as (
    select run_id, row_number() over (order by algorithm, sample_id, run_id) as place
    from internal.outcomes
    where sweep_id = $sweep and gt is not null
),
listed as (
    select c.factor, list(v.value order by m.place) as values
    from member as m
    cross join (select factor from factor_catalog where factor != 'gt') as c
    left join factors as v on v.run_id = m.run_id and v.factor = c.factor
    group by c.factor
    having count(v.value) > 0
)
select c.factor, c.title, c.family, c.phase, c.unit, c.harder, c.description, l.values
from listed as l
join factor_catalog as c on c.factor = l.factor
order by c.phase = 'post', c.position
