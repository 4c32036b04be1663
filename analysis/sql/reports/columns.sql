-- The columns of every relation, in their order.
select table_name as relation, column_name as "column", data_type as type
from duckdb_columns()
where schema_name = 'main' and not internal
order by table_name, column_index
