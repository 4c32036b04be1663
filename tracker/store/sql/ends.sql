-- How many runs of this tool there are that are not deleted, the sum of the times at which they
-- ended, the last time at which factors were added to one, and all their names.
select
    count(*) as runs, coalesce(sum(end_time), 0) as times,
    coalesce(max(measured_at), '') as measured_at, coalesce(group_concat(name), '') as names
from (
    select r.end_time, t.value as measured_at, coalesce(r.name, '') as name
    from runs as r
    join experiments as e on e.experiment_id = r.experiment_id
    left join tags as t on t.run_uuid = r.run_uuid and t.key = 'measured_at'
    where e.name like 'indelible/%' and r.lifecycle_stage = 'active'
    order by r.run_uuid
) as r
