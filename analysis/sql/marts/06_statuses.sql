-- statuses: one row per way in which an attempt can end: its words in the report, what they mean,
-- and whether such an attempt has a GT; position: where it is shown.
-- example: select status, meaning from statuses order by position
create table statuses as
select position, status, words, meaning, has_gt
from staging.statuses
order by position
