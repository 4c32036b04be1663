-- The warehouse is not what the store holds now.
select '' as run_id, 'analysis.duckdb' as name, behind.offence, 'load' as repair
from behind
