-- A run whose artifact is missing or is not what was written.
select r.run_id, r.name, a.problem, a.repair
from artifacts as a
join staging.runs as r on r.run_id = a.run_id
