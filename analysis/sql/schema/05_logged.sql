-- logged(of_kind): one row per run of a kind, such as 'sweep', with all that is logged of it:
-- params, tags and metrics, each a map from its key; a metric that is not a number is left out.
-- Maps of many runs take much memory: child runs of sweeps have the relation runs.
create macro logged(of_kind) as table
with run as (
    from staging.runs
    where kind = of_kind
),
param as (
    select p.run_id, map_from_entries(list((p.key, p.value) order by p.key)) as params
    from staging.params as p
    semi join run as r on r.run_id = p.run_id
    group by p.run_id
),
tag as (
    select t.run_id, map_from_entries(list((t.key, t.value) order by t.key)) as tags
    from staging.tags as t
    semi join run as r on r.run_id = t.run_id
    group by t.run_id
),
metric as (
    select m.run_id, map_from_entries(list((m.key, m.value) order by m.key)) as metrics
    from staging.metrics as m
    semi join run as r on r.run_id = m.run_id
    where not isnan(m.value)
    group by m.run_id
)
select r.*, p.params, t.tags, m.metrics
from run as r
left join param as p on p.run_id = r.run_id
left join tag as t on t.run_id = r.run_id
left join metric as m on m.run_id = r.run_id
