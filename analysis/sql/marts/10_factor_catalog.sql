-- factor_catalog: one row per factor: its name, title, family, unit, which values are harder, and
-- whether GT is computed from it (ingredient), as the newest sweep that measured it describes it.
-- example: select factor, family, unit from factor_catalog order by position
create table factor_catalog as
select
    c.position, c.factor, c.title, c.family, c.phase, c.unit, c.harder, c.description,
    c.undefined as undefined_when, c.source, c.factor in (select factor from ingredients) as ingredient
from staging.catalogs as c
join staging.runs as r on r.run_id = c.run_id
qualify row_number() over (partition by c.factor order by r.start_time desc, r.run_id) = 1
order by c.position, c.factor
