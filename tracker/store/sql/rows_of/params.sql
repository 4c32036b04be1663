-- The params of some runs, whose ids are given as one text: each has 32 letters, with nothing
-- between. (PostgreSQL and SQLite share no other way to bind a list; SQLite takes the tables of a
-- cross join in this order.)
with recursive wanted (run_uuid, rest) as (
    select substr(cast(:run_ids as text), 1, 32), substr(cast(:run_ids as text), 33)
    union all
    select substr(rest, 1, 32), substr(rest, 33) from wanted where rest != ''
)
select v.run_uuid as run_id, v.key, v.value
from wanted as w
cross join params as v
where w.run_uuid = v.run_uuid
