-- interval_end(rho, n, side): the lower (side = -1) or upper (1) end of the 95% interval of
-- Spearman's rho (Bonett & Wright 2000): Fisher's z with variance (1 + rho^2 / 2) / (n - 3).
-- NULL up to three pairs.
create macro interval_end(rho, n, side) as
    case
        when n <= 3 then null
        when abs(rho) = 1 then rho -- DuckDB 1.3 has the atanh of -1 wrong
        else tanh(atanh(rho) + side * 1.959963984540054 * sqrt((1 + rho * rho / 2) / (n - 3)))
    end
