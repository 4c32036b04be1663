-- Spearman of every factor against GT in one sweep, in the catalog's order, beside the most that any
-- factor can reach, where repeats say it.
with ceiling as (
    select
        algorithm,
        max(ceiling) filter (source = 'unlearning seed') as ceiling_unlearning_seed,
        max(ceiling) filter (source = 'base model seed') as ceiling_base_model_seed
    from ceilings
    where sweep_id = $sweep
    group by algorithm
)
select
    c.* exclude (position, factor), c.factor, f.title,
    h.ceiling_unlearning_seed, h.ceiling_base_model_seed
from correlate_and_test($reading, $fixed, $population, $sweep) as c
join factor_catalog as f on f.factor = c.factor
left join ceiling as h on h.algorithm = c.algorithm
order by c.position, c.algorithm
