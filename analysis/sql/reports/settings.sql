-- The hyper-parameters that each algorithm had in one sweep.
select algorithm, any_value(settings) as settings
from attempts
where sweep_id = $sweep
group by algorithm
order by algorithm
