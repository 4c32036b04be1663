-- reliability: one row per source of repeats, data set, architecture, recipe, algorithm with its
-- settings, version and precision, and base model (source 'unlearning seed') or seed of unlearning
-- ('base model seed'): how far GT agrees with itself where all but that seed is the same, over the
-- repeats that share their samples (see repeats) and the n samples that each of them has a GT for.
-- mean_rho: mean of Spearman's rho over all pairs of repeats: the reliability of one measurement;
-- mean_rho_low, mean_rho_high: its 95% interval by bootstrap over samples and, from four on,
-- repeats.
-- ceiling: its root, the most to expect of the correlation of one measurement of GT with anything
-- that shares no chance with it: with what is known before unlearning, where seeds of unlearning
-- were varied; with what does not look at the base model, where base models were. ceiling_low and
-- ceiling_high: the roots of the interval's ends, 0 for those below it: where the lower end is 0,
-- GT cannot be told from chance, and the ceiling is no number to use.
-- spearman_brown: the reliability of the mean of all repeats.
-- split_half: of the same, by the mean ranks of the odd against those of the even repeats.
-- icc: ICC(2,1) of GT: two-way random effects, absolute agreement, one measurement.
-- example: select source, algorithm, repeats, mean_rho, ceiling from reliability
create table reliability as
with designs as (
    select distinct
        design, source, dataset, arch, recipe, data_fingerprint, algorithm, settings,
        engine_version, precision, base_run_id, seed, repeats
    from repeats
    where repeats > 1
),
complete as (
    select design, repeat, sample_id, gt, repeats
    from repeats
    where repeats > 1
    qualify count(*) over (partition by design, sample_id) = repeats
),
ranked as (
    select
        design, repeat, sample_id, twice_average_rank(gt, (design, repeat)) as gt_rank
    from complete
),
pair as (
    select a.design, a.repeat as a, b.repeat as b, pearson(a.gt_rank, b.gt_rank) as rho
    from ranked as a
    join ranked as b
        on b.design = a.design and b.sample_id = a.sample_id and a.repeat < b.repeat
    group by a.design, a.repeat, b.repeat
),
-- One repeat without an order makes the mean undefined.
paired as (
    select
        design,
        case when count(rho) = count(*) then list_avg(list(rho order by a, b)) end as mean_rho
    from pair
    group by design
),
tabled as (
    select design, repeat, list(gt order by sample_id) as gt
    from complete
    group by design, repeat
),
resampled as (
    select design, mean_rho_interval(list(gt order by repeat)) as ends
    from tabled
    group by design
),
halves as (
    select
        design, sample_id,
        sum(gt_rank) filter (repeat % 2 = 1) as odd,
        sum(gt_rank) filter (repeat % 2 = 0) as even
    from ranked
    group by design, sample_id
),
split as (
    select design, stepped_up(pearson(odd, even), 2) as split_half
    from halves
    group by design
),
-- Sums in a fixed order, so that the last bit is always the same.
of_all as (
    select design, list_avg(list(gt order by sample_id, repeat)) as mean
    from complete
    group by design
),
of_sample as (
    select design, sample_id, list_avg(list(gt order by repeat)) as mean
    from complete
    group by design, sample_id
),
of_repeat as (
    select design, repeat, list_avg(list(gt order by sample_id)) as mean
    from complete
    group by design, repeat
),
centred as (
    select
        c.design, c.repeat, c.sample_id, c.gt, c.repeats as k, a.mean,
        s.mean as sample_mean, r.mean as repeat_mean
    from complete as c
    join of_all as a on a.design = c.design
    join of_sample as s on s.design = c.design and s.sample_id = c.sample_id
    join of_repeat as r on r.design = c.design and r.repeat = c.repeat
),
squares as (
    select
        design, k, count(*) / k as n, min(gt) = max(gt) as constant,
        list_sum(list((sample_mean - mean) ** 2 order by sample_id, repeat)) / (n - 1) as msr,
        list_sum(list((repeat_mean - mean) ** 2 order by sample_id, repeat)) / (k - 1) as msc,
        list_sum(list((gt - sample_mean - repeat_mean + mean) ** 2 order by sample_id, repeat))
        / ((n - 1) * (k - 1)) as mse
    from centred
    group by design, k
),
icc as (
    select
        design, n::bigint as n,
        case when not constant and n > 1
            then (msr - mse) / nullif(msr + (k - 1) * mse + k * (msc - mse) / n, 0)
        end as icc
    from squares
)
select
    d.source, d.dataset, d.arch, d.recipe, d.data_fingerprint, d.algorithm, d.settings,
    d.engine_version, d.precision, d.base_run_id, d.seed, d.repeats, coalesce(i.n, 0) as n,
    p.mean_rho, e.ends[1] as mean_rho_low, e.ends[2] as mean_rho_high,
    case when p.mean_rho > 0 then sqrt(p.mean_rho) end as ceiling,
    sqrt(if(mean_rho_low < 0, 0, mean_rho_low)) as ceiling_low,
    sqrt(if(mean_rho_high < 0, 0, mean_rho_high)) as ceiling_high,
    stepped_up(p.mean_rho, d.repeats) as spearman_brown,
    h.split_half, i.icc
from designs as d
left join paired as p on p.design = d.design
left join resampled as e on e.design = d.design
left join split as h on h.design = d.design
left join icc as i on i.design = d.design
order by
    d.source, d.dataset, d.arch, d.recipe, d.algorithm, d.settings, d.engine_version, d.precision,
    d.base_run_id, d.seed
