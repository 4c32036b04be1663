-- The tags of the runs from one id to another.
select v.run_uuid as run_id, v.key, v.value
from tags as v
where v.run_uuid between $1 and $2
