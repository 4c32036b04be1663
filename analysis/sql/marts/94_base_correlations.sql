-- base_correlations: one row per base model from which several sweeps unlearned, algorithm with its
-- settings, version and precision, factor and population: Spearman's rho of the factor with GT over
-- the samples that were unlearned in every repeat, GT and factor as means over the repeats that
-- share their samples (see repeats); with p-value and interval over the samples as in correlations,
-- a sample counting as flipped where it flipped in every repeat. A mean of repeats has less chance
-- in it than one of them: ceiling is the most to expect of what is known before unlearning, the
-- root of spearman_brown in reliability, and ceiling_low and ceiling_high the same of the ends of
-- mean_rho's interval there.
-- population: all, or flipped for the samples that flipped in every repeat.
-- example: select algorithm, factor, repeats, rho, ceiling from base_correlations where n > 3
create table base_correlations as
with once as (
    select
        t.design, t.repeats, t.repeat, t.sample_id, t.gt, t.run_id,
        r.status = 'flipped' as flipped
    from repeats as t
    join runs as r on r.run_id = t.run_id
    where t.source = 'unlearning seed' and t.sweeps > 1
),
design as (
    select distinct
        design, base_run_id, algorithm, settings, engine_version, precision, repeats
    from repeats
    where source = 'unlearning seed' and sweeps > 1
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
        list({'x': value, 'y': gt}) as pairs
    from ranked
    group by design, factor, population
),
resampled as (
    select *, case when mixed then jackknife_interval(pairs) end as ends from found
)
select
    d.base_run_id, d.algorithm, d.settings, d.engine_version, d.precision, d.repeats, f.factor,
    f.population, f.rho, f.n,
    case when f.n > 2
        then coalesce(exact_p_value(f.pairs), spearman_p_value(f.rho, f.n))
    end as p_value,
    coalesce(f.ends[1], interval_end(f.rho, f.n, -1)) as ci_low,
    coalesce(f.ends[2], interval_end(f.rho, f.n, 1)) as ci_high,
    case
        when ci_low is null then null when f.ends is null then 'bonett-wright' else 'jackknife'
    end as ci_by,
    case when f.population = 'all' and t.spearman_brown > 0
        then sqrt(t.spearman_brown)
    end as ceiling,
    case when f.population = 'all'
        then sqrt(stepped_up(if(t.mean_rho_low < 0, 0, t.mean_rho_low), t.repeats))
    end as ceiling_low,
    case when f.population = 'all'
        then sqrt(stepped_up(if(t.mean_rho_high < 0, 0, t.mean_rho_high), t.repeats))
    end as ceiling_high,
    c.ingredient,
    case
        when f.n < 2 then 'one value'
        when f.constant_factor then 'constant factor'
        when f.constant_gt then 'constant gt'
    end as undefined
from resampled as f
join design as d on d.design = f.design
join factor_catalog as c on c.factor = f.factor
left join reliability as t
    on t.source = 'unlearning seed' and t.base_run_id = d.base_run_id and t.algorithm = d.algorithm
    and t.settings = d.settings and t.engine_version = d.engine_version
    and t.precision = d.precision
order by
    d.base_run_id, d.algorithm, d.settings, d.engine_version, d.precision, f.population, c.position
