-- repeated_correlations: one row per sweep, algorithm, factor, population and source of repeats that
-- the sweep is one of: base models of other seeds ('base model seed') or other seeds of unlearning
-- from its base model ('unlearning seed'), all else the same, as in reliability.
-- mean_rho: the mean of Spearman's rho over the repeats that have one, on the scale of Fisher's z;
-- ci_low, ci_high: its 95% interval by t over these repeats: unlike that of one sweep it says how far
-- other seeds differ. Where all have the same samples, it does not say how far other samples would.
-- NULL where all are the same, as with an algorithm that has no chance in it. |rho| = 1 counts as in
-- interval_end.
-- example: select algorithm, factor, mean_rho, ci_low, ci_high from repeated_correlations
create table repeated_correlations as
with done as (
    select distinct
        o.sweep_id, o.algorithm, r.settings, r.engine_version, r.precision, r.seed,
        b.base_run_id, b.seed as base_seed, b.dataset, b.arch, b.recipe, b.data_fingerprint
    from outcomes as o
    join runs as r on r.run_id = o.run_id
    join sweeps as s on s.sweep_id = o.sweep_id
    join base_models as b on b.base_run_id = s.base_run_id
),
paired as (
    select
        a.sweep_id, a.algorithm, b.sweep_id as other,
        unnest(list_filter([
            case when b.base_run_id = a.base_run_id
                then {'source': 'unlearning seed', 'repeat': b.seed}
            end,
            case when b.seed = a.seed
                then {'source': 'base model seed', 'repeat': b.base_seed}
            end
        ], lambda kind: kind is not null)) as kind
    from done as a
    join done as b
        on b.algorithm = a.algorithm and b.settings = a.settings and b.dataset = a.dataset
        and b.engine_version = a.engine_version and b.precision = a.precision
        and b.arch = a.arch and b.recipe is not distinct from a.recipe
        and b.data_fingerprint is not distinct from a.data_fingerprint
        and (b.base_run_id = a.base_run_id or b.seed = a.seed)
),
-- Of several sweeps that are the same repeat one counts: the sweep itself, or the largest.
found as (
    select
        p.sweep_id, p.algorithm, c.factor, c.population, p.kind.source as source,
        p.kind.repeat as repeat, c.n, c.ingredient,
        atanh(c.rho * if(abs(c.rho) = 1, 1 - 12 / (c.n ** 3 - c.n), 1)) as z
    from paired as p
    join correlations as c on c.sweep_id = p.other and c.algorithm = p.algorithm
    where c.rho is not null and c.n > 3 and p.kind.repeat is not null
    qualify row_number() over (
        partition by p.sweep_id, p.algorithm, c.factor, c.population, p.kind.source, p.kind.repeat
        order by p.other != p.sweep_id, c.n desc, p.other
    ) = 1
),
-- Means of ordered lists: an avg would add in any order, and differ in its last bit.
of_all as (
    select
        sweep_id, algorithm, factor, population, source, ingredient, count(*) as k,
        min(n) as fewest, list(z order by repeat) as zs, list_avg(zs) as mean,
        sqrt(list_sum(list_transform(zs, lambda z: (z - mean) ** 2)) / (k - 1) / k) as error
    from found
    group by sweep_id, algorithm, factor, population, source, ingredient
    having k > 1
)
select
    sweep_id, algorithm, factor, population, source, k as repeats, fewest as n,
    tanh(mean) as mean_rho,
    case when error > 0 then tanh(mean - t_quantile(0.975, k - 1) * error) end as ci_low,
    case when error > 0 then tanh(mean + t_quantile(0.975, k - 1) * error) end as ci_high,
    ingredient
from of_all
order by sweep_id, population, algorithm, factor, source
