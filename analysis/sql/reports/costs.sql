-- What each family of factors that are known before unlearning takes for a sample, as a multiple of
-- the steps of an attempt with ga: on the newest base model where that is known.
select c.name as family, c.of_attempt
from internal.factor_costs as c
join base_models as b on b.base_run_id = c.base_run_id
where c.kind = 'factors' and c.of_attempt is not null
qualify dense_rank() over (order by b.trained_at desc, c.base_run_id) = 1
order by c.of_attempt, c.name
