-- histories: one row per child run and step: how probable the network found the label of the forget
-- sample while it was unlearned, and its loss.
-- step: how many optimiser steps were taken, from 0, where the network is still the base model.
-- forget_prob: the probability of its label, from 0 to 1.
-- forget_loss: the cross-entropy of its label, in nats: -ln(forget_prob).
-- example: select run_id, step, forget_prob from histories order by run_id, step
create view histories as
-- Where an attempt went back to an earlier step, its values come again after the last step.
select h.run_id, h.step, h.forget_prob, h.forget_loss
from staging.histories as h
left join factors as f on f.run_id = h.run_id and f.factor = 'steps'
where h.step <= coalesce(f.value, h.step)
