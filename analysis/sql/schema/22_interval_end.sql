-- interval_end(rho, n, side): the lower (side = -1) or upper (1) end of the 95% interval of
-- Spearman's rho (Bonett & Wright 2000): Fisher's z with variance (1 + rho^2 / 2) / (n - 3). Where
-- |rho| is 1, one end is rho and the other is that of next_to_one(n), as far away as n allows. NULL
-- up to three pairs.
create macro interval_end(rho, n, side) as
    case
        when n <= 3 then null
        when rho = side then rho
        when abs(rho) = 1 then interval_end_within(rho * next_to_one(n), n, side)
        else interval_end_within(rho, n, side)
    end
