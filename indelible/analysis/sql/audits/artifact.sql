-- A run whose artifact is missing or is not what was written.
select r.run_id, r.name, a.artifact || ' is ' || a.state as offence,
    case r.kind when 'member' then 'discard' else 'none' end as repair
from artifacts as a
join staging.runs as r on r.run_id = a.run_id
where a.state != 'whole'
