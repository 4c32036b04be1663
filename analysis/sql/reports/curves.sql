-- How probable the network found the label of each sample of one sweep while it was unlearned, a
-- row an attempt: its steps, and the probability after each, as drawn on a scale down to 0.001.
select
    a.algorithm, a.sample_id, list(h.step order by h.step) as steps,
    list(round(greatest(h.forget_prob, 0.001), 5) order by h.step) as probs
from attempts as a
join histories as h on h.run_id = a.run_id
where a.sweep_id = $sweep
group by a.algorithm, a.sample_id, a.run_id
order by a.algorithm, a.sample_id, a.run_id
