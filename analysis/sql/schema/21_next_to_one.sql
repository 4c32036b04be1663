-- next_to_one(n): the largest value below 1 that Spearman's rho of n pairs without ties can take.
create macro next_to_one(n) as 1 - 12 / (n ** 3 - n)
