-- How far all algorithms of one sweep agree on which samples are hard: Kendall's W.
select w, p_value, algorithms, n from concordance where sweep_id = $sweep and w is not null
