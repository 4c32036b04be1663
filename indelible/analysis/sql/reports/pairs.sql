-- How far each two algorithms of one sweep agree on which samples are hard.
select algorithm_a, algorithm_b, rho, n, top_k, top_overlap, top_overlap_by_chance
from agreement
where sweep_id = $sweep
order by algorithm_a, algorithm_b
