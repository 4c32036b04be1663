-- How far each two algorithms of one sweep agree on which samples are hard, beside how far all do.
select
    a.algorithm_a, a.algorithm_b, a.rho, a.p_value, a.n, a.top_k, a.top_overlap,
    a.top_overlap_by_chance, c.w as concordance, c.p_value as concordance_p_value,
    c.rankings as concordance_algorithms, c.n as concordance_n
from agreement as a
join internal.concordance as c on c.sweep_id = a.sweep_id
where a.sweep_id = $sweep
order by a.algorithm_a, a.algorithm_b
