-- p_value_of(rho, n, pairs): the two-sided p-value of Spearman's rho of n pairs: up to nine pairs
-- and where |rho| is 1 the share of all orders of the pairs that have as large a |rho|, of more
-- pairs by t. NULL up to two pairs. Needs functions of ours that a plain DuckDB lacks.
create macro p_value_of(rho, n, pairs) as
    case when n > 2 then coalesce(
        case when n <= 9 or abs(rho) = 1 then exact_p_value(pairs) end,
        spearman_p_value(rho, n)
    ) end
