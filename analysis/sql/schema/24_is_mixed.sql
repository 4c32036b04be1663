-- is_mixed(flipped, n): whether both many of n members flipped and many did not, 5% at least of
-- each. GT follows other things in the ones than in the others, and formulas that suppose one
-- population do not hold.
create macro is_mixed(flipped, n) as flipped >= 0.05 * n and n - flipped >= 0.05 * n
