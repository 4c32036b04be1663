-- run_id_of(key): the id of the child run that was written under this key, as the tracker makes it:
-- the beginning of a hash of what all members of one algorithm share, and the number of the sample.
create macro run_id_of(key) as
    left(sha256(split_part(key, '-', 1)), 22) || lpad(split_part(key, '-', 2), 10, '0')
