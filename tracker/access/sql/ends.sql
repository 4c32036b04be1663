-- How many runs of this tool there are that are not deleted, and the sum of the times at which they
-- ended.
select count(*) as runs, coalesce(sum(r.end_time), 0) as times
from runs as r
join experiments as e on e.experiment_id = r.experiment_id
where e.name like 'indelible/%' and r.lifecycle_stage = 'active'
