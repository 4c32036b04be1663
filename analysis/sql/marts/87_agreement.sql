-- agreement: one row per sweep and pair of algorithms: how far they agree on which samples are
-- hard, over the n samples for which both have a GT.
-- algorithm_a, algorithm_b: the two, in the order of the alphabet.
-- rho, p_value: Spearman's rho of their GT, and its p-value.
-- top_k: a tenth of n, at least 1.
-- top_overlap: how many of the top_k hardest samples they have in common; samples that are tied
-- across the end of the top share its last places.
-- top_overlap_by_chance: the number to expect of two orders that have nothing to do with each
-- other.
-- example: select rho, top_overlap, n from agreement where sweep_id = find_sweep('latest')
create table agreement as
with pairs as (
    select
        a.sweep_id, a.algorithm as algorithm_a, b.algorithm as algorithm_b,
        a.gt as gt_a, b.gt as gt_b,
        (a.sweep_id, a.algorithm, b.algorithm) as pair,
        count(*) over (partition by a.sweep_id, a.algorithm, b.algorithm) as n,
        greatest(1, round(n / 10))::bigint as top_k
    from internal.outcomes as a
    join internal.outcomes as b
        on b.sweep_id = a.sweep_id and b.sample_id = a.sample_id and b.algorithm > a.algorithm
    where a.gt is not null and b.gt is not null
),
placed as (
    select
        sweep_id, algorithm_a, algorithm_b, n, top_k, gt_a, gt_b,
        twice_average_rank(gt_a, pair) as rank_a,
        twice_average_rank(gt_b, pair) as rank_b,
        place_among_lowest(top_k, gt_a, pair) * place_among_lowest(top_k, gt_b, pair) as shared
    from pairs
),
found as (
    select
        sweep_id, algorithm_a, algorithm_b, pearson(rank_a, rank_b) as rho, n, top_k,
        list_sum(list(shared order by rank_a, rank_b)) as top_overlap,
        list([gt_a, gt_b]) as pairs
    from placed
    group by sweep_id, algorithm_a, algorithm_b, n, top_k
)
select
    sweep_id, algorithm_a, algorithm_b, rho, n, top_k, top_overlap,
    top_k * top_k / n as top_overlap_by_chance,
    p_value_of(rho, n, pairs) as p_value
from found
order by sweep_id, algorithm_a, algorithm_b
