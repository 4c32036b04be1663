-- How the attempts of one sweep ended, a row an algorithm; ended: how many with each status.
with counted as (
    select
        a.algorithm, s.position, s.status, count(*) as members,
        count(*) filter (a.status = s.status) as ended,
        avg(a.steps) as mean_steps, avg(a.gt) as mean_gt
    from attempts as a
    cross join statuses as s
    where a.sweep_id = $sweep
    group by a.algorithm, s.position, s.status
)
select
    algorithm, any_value(members) as members,
    map_from_entries(list((status, ended) order by position)) as ended,
    any_value(mean_steps) as mean_steps, any_value(mean_gt) as mean_gt
from counted
group by algorithm
order by algorithm
