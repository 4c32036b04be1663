-- factors: one row per child run and factor; a factor that is undefined for the run has no row.
-- attempts has a column for each of them.
-- value: its value; factor_catalog says in which unit.
-- example: select title, value from factors where run_id = (select max(run_id) from attempts)
create table factors as
-- A metric is named family/factor.
select m.run_id, c.factor, c.title, c.phase, m.value
from staging.metrics as m
join internal.runs as r on r.run_id = m.run_id
join factor_catalog as c on c.factor = split_part(m.key, '/', -1)
where m.value is not null and not isnan(m.value)
