-- How far the orders of one sweep's samples are known to stay under another seed of unlearning.
select * from internal.seed_agreement where sweep_id = $sweep order by algorithm
