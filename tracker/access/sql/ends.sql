-- How many runs of this tool there are that are not deleted, the sum of the times at which they
-- ended, and the last time at which factors were added to one.
select
    count(*) as runs, coalesce(sum(r.end_time), 0) as times,
    coalesce(max(t.value), '') as measured_at
from runs as r
join experiments as e on e.experiment_id = r.experiment_id
left join tags as t on t.run_uuid = r.run_uuid and t.key = 'measured_at'
where e.name like 'indelible/%' and r.lifecycle_stage = 'active'
