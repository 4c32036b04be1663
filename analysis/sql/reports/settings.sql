-- The hyper-parameters that each algorithm had in one sweep.
select
    algorithm,
    array_to_string(
        list_transform(map_entries(any_value(settings)), lambda e: e.key || '=' || e.value), ', '
    ) as settings
from attempts
where sweep_id = $sweep
group by algorithm
order by algorithm
