-- holm(p, place, tests, group): a p-value corrected by Holm (1979): of `tests` in the group, this
-- one has the place-th smallest.
create macro holm(p, place, tests, grp) as
    least(1, max(p * (tests - place + 1)) over (partition by grp order by p))
