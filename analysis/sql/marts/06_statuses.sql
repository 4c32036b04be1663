-- statuses: one row per way in which an attempt can end.
-- words: what the report calls it.
-- meaning: what it means, in a sentence.
-- has_gt: whether such an attempt has a GT.
-- position: where it is shown among them, from 1.
-- example: select status, meaning from statuses order by position
create table statuses as
select position, status, words, meaning, has_gt
from staging.statuses
where position is not null -- damage is no status, but a reading of the result with a limit
order by position
