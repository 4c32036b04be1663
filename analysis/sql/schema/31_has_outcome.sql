-- has_outcome(status): whether an attempt that ended so was run and kept to finite numbers, so that
-- it has a GT: all but non_finite and already_wrong.
create macro has_outcome(status) as status in ('flipped', 'rewound', 'max_steps', 'unchanged')
