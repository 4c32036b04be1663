-- correlations: one row per sweep (and so base model), algorithm, factor and population:
-- Spearman's rho of the factor against GT (lambda = 1 / test samples), its p-values and interval,
-- and rho given the initial margin and within classes. Here target is gt: correlations_with has the
-- same of others.
-- population: all members with a GT, those that flipped, or those that did not (not_flipped).
-- flipped: how many of the n members flipped.
-- p_holm, p_bh: corrected for all tests of one sweep and population, by Holm and by Benjamini &
-- Hochberg.
-- at_chance: whether the factor is the result of a membership attack that is not known to be
-- better than chance (see attacks); then a small p-value means nothing.
-- example: select title, population, rho from correlations where sweep_id = find_sweep('latest')
create table correlations as
from correlations_with('gt')
