-- The pairs behind the correlations of one sweep: two lists for each algorithm and factor.
select
    algorithm, factor,
    list(value order by sample_id) as values,
    list(gt order by sample_id) as gt
from correlation_pairs($reading, $fixed, $population, $sweep)
group by algorithm, factor
