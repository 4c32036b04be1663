-- internal.ingredients: one row per target and factor that it is computed from, or that is computed
-- from it. Such a factor correlates with the target by construction.
-- part: its part in the formula of the target; NULL where the target is a part of the factor's.
-- example: select factor, part from internal.ingredients where target = 'gt'
create table internal.ingredients as
from (
    values
    ('gt', 'test_prob_diff', 'u'),
    ('gt', 'forget_prob_diff', 'f'),
    ('z', 'reference_phi', 'mean'),
    ('z', 'reference_sd', 'sd'),
    ('z', 'z_error', null),
    ('z', 'forgotten', null),
    ('points_lost', 'test_accuracy', 'accuracy'),
    ('relearn_steps', 'relearned', null),
    ('unlearning_gap', 'relative_gap', null)
) as made_of (target, factor, part)
