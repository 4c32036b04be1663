-- As which other class the unlearned networks of one sweep see the samples of each class: how many
-- attempts ended so.
select algorithm, label, flipped_to, count(*) as attempts
from attempts
where sweep_id = $sweep and flipped_to is not null
group by algorithm, label, flipped_to
order by algorithm, label, flipped_to
