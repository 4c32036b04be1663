-- How far the algorithms of one sweep agree on which samples are hard.
select algorithm_a, algorithm_b, rho, p_value, n from agreement where sweep_id = $sweep
