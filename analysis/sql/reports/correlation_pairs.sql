-- The pairs behind the correlations of one sweep: two lists for each algorithm and factor.
select
    algorithm, factor,
    list(value order by sample_id) as values,
    list(measured order by sample_id) as measured
from correlation_pairs($reading, $fixed, $population, $sweep, target := $target)
group by algorithm, factor
