-- Spearman's rho of every factor with a target in one sweep, what is known before unlearning first,
-- and the ceiling of that rho with its interval where the sweep was repeated. The ceilings hold for
-- all members and the default lambda only.
with ceiling as (
    select
        algorithm,
        max(ceiling) filter (varied = 'unlearning seed') as ceiling_unlearning_seed,
        max(ceiling_low) filter (varied = 'unlearning seed') as ceiling_unlearning_seed_low,
        max(ceiling_high) filter (varied = 'unlearning seed') as ceiling_unlearning_seed_high,
        max(ceiling) filter (varied = 'base model seed') as ceiling_base_model_seed,
        max(ceiling_low) filter (varied = 'base model seed') as ceiling_base_model_seed_low,
        max(ceiling_high) filter (varied = 'base model seed') as ceiling_base_model_seed_high
    from ceilings
    where
        sweep_id = $sweep and target = $target and $population = 'all' and $reading = 'set_sizes'
    group by algorithm
)
select
    c.* exclude (position, factor, title, phase, at_chance), c.factor, c.title, c.phase,
    h.* exclude (algorithm),
    c.at_chance
from correlate_and_test($reading, $fixed, $population, $sweep, target := $target) as c
left join ceiling as h on h.algorithm = c.algorithm
order by c.phase = 'post', c.position, c.algorithm
