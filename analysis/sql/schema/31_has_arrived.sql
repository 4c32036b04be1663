-- has_arrived(status): whether an attempt came where it was to end: at the flip or, in a sweep
-- until the reference, at the log-odds that the model would have, had it never seen the sample.
create macro has_arrived(status) as status in ('flipped', 'at_reference')
