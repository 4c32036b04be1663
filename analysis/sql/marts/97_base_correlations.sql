-- internal.base_correlations: one row per base model from which several sweeps unlearned, algorithm
-- with its settings, version and precision, factor and population. For each sample GT and the
-- factor are averaged over the repeats (see repeats); rho is Spearman's correlation of these means
-- over the samples that have both in every repeat, with p-value and interval over the samples as in
-- correlations.
-- population: all, or flipped for the samples that flipped in every repeat.
-- ceiling: the most to expect of what is known before unlearning: the root of spearman_brown in
-- reliability, higher than the ceiling there, as a mean of repeats has less chance in it than one
-- of them.
-- ceiling_low, ceiling_high: the same of the ends of mean_rho's interval there.
-- example: select algorithm, factor, repeats, rho from internal.base_correlations where n > 3
create table internal.base_correlations as
with once as (
    select
        t.design, t.repeats, t.repeat, t.sample_id, t.measured as gt, t.run_id,
        r.status = 'flipped' as flipped
    from internal.repeats as t
    join internal.runs as r on r.run_id = t.run_id
    where t.target = 'gt' and t.varied = 'unlearning seed' and t.sweeps > 1
),
design as (
    select distinct
        design, base_run_id, algorithm, settings, engine_version, precision, repeats
    from internal.repeats
    where target = 'gt' and varied = 'unlearning seed' and sweeps > 1
),
-- Means of ordered lists: an avg would add in any order, and differ in its last bit.
pair as (
    select
        o.design, v.factor, o.sample_id, bool_and(o.flipped) as flipped,
        list_avg(list(o.gt order by o.repeat)) as gt,
        list_avg(list(v.value order by o.repeat)) as value
    from once as o
    join factors as v on v.run_id = o.run_id
    where v.factor != 'gt'
    group by o.design, v.factor, o.sample_id, o.repeats
    having count(*) = o.repeats
),
asked as (
    select design, factor, 'all' as population, gt, value, flipped from pair
    union all
    select design, factor, 'flipped' as population, gt, value, flipped from pair where flipped
),
ranked as (
    select
        design, factor, population,
        twice_centred_rank(gt, (design, factor, population)) as gt_rank,
        twice_centred_rank(value, (design, factor, population)) as value_rank, gt, value, flipped
    from asked
),
found as (
    select
        design, factor, population, pearson(value_rank, gt_rank) as rho, count(*) as n,
        min(value_rank) = max(value_rank) as constant_factor,
        min(gt_rank) = max(gt_rank) as constant_gt, is_mixed(count(*) filter (flipped), n) as mixed,
        list([value, gt]) as pairs
    from ranked
    group by design, factor, population
),
resampled as (
    select *, case when mixed then jackknife_interval(pairs) end as ends from found
)
select
    d.*, f.factor, f.population, f.rho, f.n,
    p_value_of(f.rho, f.n, f.pairs) as p_value,
    coalesce(f.ends[1], interval_end(f.rho, f.n, -1)) as ci_low,
    coalesce(f.ends[2], interval_end(f.rho, f.n, 1)) as ci_high,
    interval_by(ci_low, f.ends) as ci_by,
    case when t.spearman_brown > 0 then sqrt(t.spearman_brown) end as ceiling,
    sqrt(stepped_up(not_below_zero(t.mean_rho_low), t.repeats)) as ceiling_low,
    sqrt(stepped_up(not_below_zero(t.mean_rho_high), t.repeats)) as ceiling_high,
    c.ingredient, why_undefined(f.n, f.constant_factor, f.constant_gt, 'gt') as undefined
from resampled as f
join design as d on d.design = f.design
join factor_catalog as c on c.factor = f.factor
left join internal.reliability as t
    on t.design = f.design and t.target = 'gt' and f.population = 'all'
order by
    d.base_run_id, d.algorithm, d.settings, d.engine_version, d.precision, f.population, c.position
