-- is_mixed(flipped, n): whether, of n members, at least 5% flipped and at least 5% did not. GT
-- depends on different things in the two groups, so formulas that assume one population do not hold
-- for both.
create macro is_mixed(flipped, n) as flipped >= 0.05 * n and n - flipped >= 0.05 * n
