-- ingredients: one row per factor that GT is made of, with the part it gives: that it correlates
-- with GT is by construction.
-- example: select factor, part from ingredients
create table ingredients as
from (values ('test_prob_diff', 'u'), ('forget_prob_diff', 'f')) as made_of (factor, part)
