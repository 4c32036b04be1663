-- internal.concordance: one row per sweep: how far all of its algorithms agree on which samples are
-- hard, over the n samples for which every algorithm has a GT (not counting algorithms without any
-- GT).
-- w: Kendall's W with its correction for ties: 1 is the same order.
-- p_value: by chi-square with n - 1 degrees of freedom.
-- rankings: how many algorithms are compared.
-- example: select w, p_value, rankings, n from internal.concordance
create table internal.concordance as
with measured as (
    select
        sweep_id, algorithm, sample_id, gt,
        count(distinct algorithm) over (partition by sweep_id) as algorithms,
        count(*) over (partition by sweep_id, sample_id) as having_gt
    from internal.outcomes
    where gt is not null
),
ranked as (
    select
        sweep_id, algorithms, sample_id,
        twice_centred_rank(gt, (sweep_id, algorithm)) as gt_rank,
        peers(gt, (sweep_id, algorithm)) as gt_peers
    from measured
    where having_gt = algorithms
),
summed as (
    select
        sweep_id, algorithms as m, sample_id, sum(gt_rank) as total,
        sum(gt_peers * gt_peers - 1) as ties
    from ranked
    group by sweep_id, m, sample_id
),
-- The ranks are doubled: 12 S is 3 sum(total^2). A tie of t adds t^3 - t, t^2 - 1 a sample.
found as (
    select
        sweep_id, m, count(*) as n,
        3 * sum(total * total)
        / nullif(m * (m * (n * n * n - n) - sum(ties)), 0) as w
    from summed
    group by sweep_id, m
)
select
    s.sweep_id,
    case when f.m > 1 then f.w end as w,
    case when f.m > 1 then chi_square_p_value(f.m * (f.n - 1) * f.w, f.n - 1) end as p_value,
    coalesce(f.m, 0) as rankings, coalesce(f.n, 0) as n
from sweeps as s
left join found as f on f.sweep_id = s.sweep_id
order by s.sweep_id
