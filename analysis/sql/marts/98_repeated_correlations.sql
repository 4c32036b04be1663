-- internal.repeated_correlations: one row per sweep, algorithm, factor, population and varied seed,
-- where the sweep is one of several repeats: those that differ from it in the seed of unlearning
-- only ('unlearning seed'), or in the seed of the base model only ('base model seed'); see designs.
-- As many training samples stood for the remaining data in all of them.
-- n: the fewest pairs of a repeat.
-- mean_rho: the mean of Spearman's rho over the repeats that have one, on the scale of Fisher's z;
-- |rho| = 1 counts as in interval_end.
-- ci_low, ci_high: the 95% interval of mean_rho by t over the repeats. Unlike the interval of one
-- sweep it says how much rho differs between seeds; where all repeats have the same samples, it
-- does not say how much it would differ with other samples. NULL where all repeats have the same
-- rho, as with an algorithm that draws nothing at random.
-- example: select algorithm, factor, mean_rho, ci_low, ci_high from internal.repeated_correlations
create table internal.repeated_correlations as
with paired as (
    select a.sweep_id, a.algorithm, a.varied, b.sweep_id as other, b.repeat_seed as repeat
    from internal.designs as a
    join internal.designs as b on b.design = a.design
    join sweeps as of_a on of_a.sweep_id = a.sweep_id
    join sweeps as of_b
        on of_b.sweep_id = b.sweep_id and of_b.remaining is not distinct from of_a.remaining
),
-- Of several sweeps that are the same repeat one counts: the sweep itself, or the largest.
found as (
    select
        p.sweep_id, p.algorithm, c.factor, c.population, p.varied, p.repeat, c.n, c.ingredient,
        atanh(c.rho * if(abs(c.rho) = 1, next_to_one(c.n), 1)) as z
    from paired as p
    join correlations as c on c.sweep_id = p.other and c.algorithm = p.algorithm
    where c.rho is not null and c.n > 3
    qualify
        row_number() over (
            partition by p.sweep_id, p.algorithm, c.factor, c.population, p.varied, p.repeat
            order by p.other != p.sweep_id, c.n desc, p.other
        ) = 1
),
-- Means of ordered lists: an avg would add in any order, and differ in its last bit.
of_all as (
    select
        sweep_id, algorithm, factor, population, varied, ingredient, count(*) as k,
        min(n) as fewest, list(z order by repeat) as zs, list_avg(zs) as mean,
        sqrt(list_sum(list_transform(zs, lambda z: (z - mean) ** 2)) / (k - 1) / k) as error
    from found
    group by sweep_id, algorithm, factor, population, varied, ingredient
    having k > 1
)
select
    sweep_id, algorithm, factor, population, varied, k as repeats, fewest as n,
    tanh(mean) as mean_rho,
    case when error > 0 then tanh(mean - t_quantile(0.975, k - 1) * error) end as ci_low,
    case when error > 0 then tanh(mean + t_quantile(0.975, k - 1) * error) end as ci_high,
    ingredient
from of_all
order by sweep_id, population, algorithm, factor, varied
