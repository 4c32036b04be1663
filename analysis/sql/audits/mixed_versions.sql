-- A sweep among whose members are values of a factor family from several versions of its code, or
-- beside values of no known version. What follows the point in a version is of single samples.
with told as (
    select s.sweep_id, s.sweep as name, r.run_id, t.value as versions
    from staging.plans as p
    join sweeps as s on s.sweep_id = p.run_id
    join internal.runs as r on r.key = p.key and r.run_status = 'FINISHED'
    left join staging.tags as t on t.run_id = r.run_id and t.key = 'factor_versions'
),
of_family as (
    select sweep_id, name, unnest(json_keys(versions)) as family, versions
    from told
    where json_valid(versions)
),
counted as (
    select
        sweep_id, name, family,
        count(distinct split_part(versions ->> ('$."' || family || '"'), '.', 1)) as versions
    from of_family
    group by sweep_id, name, family
),
untold as (
    select sweep_id, count(*) filter (versions is null) as members, count(*) as of_all
    from told
    group by sweep_id
)
select
    c.sweep_id as run_id, c.name,
    if(
        u.members > 0,
        u.members || ' of ' || u.of_all || ' members have factors of no known version',
        'its members have factors of ' || max(c.versions) || ' versions: '
        || string_agg(c.family, ', ' order by c.family) filter (c.versions > 1)
    ) || ': ''indelible measure --sweep ' || c.sweep_id || ''' mends it' as problem,
    'measure' as repair
from counted as c
join untold as u on u.sweep_id = c.sweep_id
group by c.sweep_id, c.name, u.members, u.of_all
having u.members > 0 or max(c.versions) > 1
