-- ingredients: one row per factor that GT is computed from. Such a factor correlates with GT by
-- construction.
-- part: its part in the formula of GT: u or f.
-- example: select factor, part from ingredients
create table ingredients as
from (values ('test_prob_diff', 'u'), ('forget_prob_diff', 'f')) as made_of (factor, part)
