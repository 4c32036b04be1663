-- internal.class_tests: one row per sweep and algorithm: whether its GT differs between classes at
-- all: the test of Kruskal & Wallis (1952) over the classes that have a GT. It says that some class
-- is harder than some other, not which. With few samples a class it errs on the strict side: with
-- four in each of ten, p is below 0.05 in 2.5% of sweeps without a difference.
-- h: the statistic, corrected for ties; NULL where there are fewer than two classes or all GT are
-- equal.
-- df: degrees of freedom: classes - 1.
-- p_value: by chi-square.
-- p_holm: corrected by Holm over the algorithms of the sweep.
-- example: select algorithm, h, df, p_holm from internal.class_tests
create table internal.class_tests as
with ranked as (
    select
        sweep_id, algorithm, label,
        twice_centred_rank(gt, (sweep_id, algorithm)) as gt_rank,
        peers(gt, (sweep_id, algorithm)) as gt_peers
    from internal.outcomes
    where gt is not null
),
class as (
    select
        sweep_id, algorithm, label, count(*) as size, sum(gt_rank) as total,
        sum(gt_peers * gt_peers - 1) as ties
    from ranked
    group by sweep_id, algorithm, label
),
-- The ranks are doubled: 12 S is 3 sum(total^2 / size). A tie of t adds t^3 - t, t^2 - 1 a sample.
found as (
    select
        sweep_id, algorithm, count(*) as classes, sum(size)::bigint as n, classes - 1 as df,
        case
            when classes > 1
                then
                    3 * (n - 1) * list_sum(list(total * total / size order by label))
                    / nullif(n * n * n - n - sum(ties), 0)
        end as h
    from class
    group by sweep_id, algorithm
),
tested as (
    select *, chi_square_p_value(h, df) as p_value from found
),
ordered as (
    select
        *,
        rank() over (partition by sweep_id order by p_value) as place,
        count(p_value) over (partition by sweep_id) as tests
    from tested
)
select
    sweep_id, algorithm, classes, n, h, df, p_value,
    case when p_value is not null then holm(p_value, place, tests, sweep_id) end as p_holm
from ordered
order by sweep_id, algorithm
