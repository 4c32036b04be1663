-- factors: one row per child run and factor that is defined for it; a NULL is no row.
-- example: select factor, avg(value) as mean from factors group by factor
create table factors as
select m.run_id, m.key as factor, m.value
from staging.metrics as m
join runs as r on r.run_id = m.run_id
join factor_catalog as c on c.factor = m.key
where m.value is not null and not isnan(m.value)
