-- Whether GT differs between the classes of one sweep at all, for each algorithm.
select algorithm, classes, n, h, df, p_value, p_holm
from internal.class_tests
where sweep_id = $sweep
order by algorithm
