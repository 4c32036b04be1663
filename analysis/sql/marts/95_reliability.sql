-- internal.reliability: one row per design and target that was repeated: how far the target agrees
-- with itself where only a seed is another, over the repeats that share their samples (see repeats)
-- and the n samples that have it in each of them. The columns up to seed say which design it is, as
-- in designs.
-- ceiling: the root of mean_rho: the most to expect of the correlation of one measurement of the
-- target with anything that shares no chance with it. That is what is known before unlearning,
-- where the seeds of unlearning differ, and what does not look at the base model, where those of
-- base models do; for algorithms that draw at random the latter is too high (see designs).
-- ceiling_low, ceiling_high: the roots of the ends of mean_rho's interval, 0 for an end below 0.
-- Where the lower one is 0, the target cannot be told from chance, and the ceiling says nothing.
-- spearman_brown: the reliability of the mean of all repeats.
-- split_half: another estimate of the same: the mean ranks of the odd repeats against those of the
-- even ones.
-- example: select varied, algorithm, target, repeats, mean_rho, ceiling from internal.reliability
create table internal.reliability as
with design as (
    select distinct
        design, varied, dataset, arch, recipe, data_fingerprint, algorithm, provider,
        settings, engine_version, precision, base_run_id, seed, target, repeats
    from internal.repeats
    where repeats > 1
),
-- Where a repeat has no order at all, the mean is undefined.
paired as (
    select
        design, target,
        case
            when count(rho) = count(*) then list_avg(list(rho order by repeat_a, repeat_b))
        end as mean_rho
    from internal.repeat_pairs
    group by design, target
),
listed as (
    select design, target, repeat, list(measured order by sample_id) as measured
    from internal.complete_repeats
    group by design, target, repeat
),
resampled as (
    select design, target, mean_rho_interval(list(measured order by repeat)) as ends
    from listed
    group by design, target
),
halved as (
    select
        design, target, sample_id,
        sum(measured_rank) filter (repeat % 2 = 1) as odd,
        sum(measured_rank) filter (repeat % 2 = 0) as even
    from internal.complete_repeats
    group by design, target, sample_id
),
split as (
    select design, target, stepped_up(pearson(odd, even), 2) as split_half
    from halved
    group by design, target
)
select
    d.*, coalesce(i.n, 0) as n,
    p.mean_rho, e.ends[1] as mean_rho_low, e.ends[2] as mean_rho_high,
    case when p.mean_rho > 0 then sqrt(p.mean_rho) end as ceiling,
    sqrt(not_below_zero(mean_rho_low)) as ceiling_low,
    sqrt(not_below_zero(mean_rho_high)) as ceiling_high,
    stepped_up(p.mean_rho, d.repeats) as spearman_brown,
    h.split_half, i.icc
from design as d
left join paired as p on p.design = d.design and p.target = d.target
left join resampled as e on e.design = d.design and e.target = d.target
left join split as h on h.design = d.design and h.target = d.target
left join internal.intraclass_correlations as i on i.design = d.design and i.target = d.target
order by
    d.varied, d.dataset, d.arch, d.recipe, d.algorithm, d.provider, d.settings, d.engine_version,
    d.precision, d.base_run_id, d.seed, d.target
