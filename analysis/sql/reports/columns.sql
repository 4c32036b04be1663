-- The columns of every relation, in their order, with what relation and column mean.
with relation as (
    select table_name as relation, comment as meaning
    from duckdb_tables()
    where schema_name = 'main'
    union all
    select view_name as relation, comment as meaning
    from duckdb_views()
    where schema_name = 'main' and not internal
)
select
    r.relation, coalesce(r.meaning, '') as meaning, c.column_name as "column", c.data_type as type,
    coalesce(c.comment, '') as column_meaning
from duckdb_columns() as c
join relation as r on r.relation = c.table_name
where c.schema_name = 'main' and not c.internal
order by r.relation, c.column_index
