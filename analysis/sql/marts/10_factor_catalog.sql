-- factor_catalog: one row per factor, as the newest sweep that measured it describes it.
-- position: where it is shown among them.
-- family: what it is computed with.
-- unit: its unit; empty where it has none.
-- harder: which of its ends is expected to be hard: high or low.
-- description: what it measures.
-- undefined_when: when it is NULL.
-- source: where it was published.
-- example: select factor, family, unit from factor_catalog order by position
create table factor_catalog as
select
    c.position, c.factor, c.title, c.family, c.phase, c.unit, c.harder, c.description,
    c.undefined as undefined_when, c.source,
    c.factor in (select factor from internal.ingredients where target = 'gt') as ingredient
from staging.catalogs as c
join staging.runs as r on r.run_id = c.run_id
qualify row_number() over (partition by c.factor order by r.start_time desc, r.run_id) = 1
order by c.position, c.factor
