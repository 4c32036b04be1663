-- agreement: one row per sweep and pair of algorithms: how far they agree on which samples are
-- hard, as Spearman's rho of their GT over the samples that both have one for.
create table agreement as
with pairs as (
    select
        a.sweep_id, a.algorithm as algorithm_a, b.algorithm as algorithm_b,
        a.gt as gt_a, b.gt as gt_b
    from outcomes as a
    join outcomes as b
        on b.sweep_id = a.sweep_id and b.sample_id = a.sample_id and a.algorithm < b.algorithm
    where a.gt is not null and b.gt is not null
),
ranked as (
    select
        sweep_id, algorithm_a, algorithm_b,
        twice_average_rank(gt_a, (sweep_id, algorithm_a, algorithm_b)) as rank_a,
        twice_average_rank(gt_b, (sweep_id, algorithm_a, algorithm_b)) as rank_b
    from pairs
),
found as (
    select sweep_id, algorithm_a, algorithm_b, pearson(rank_a, rank_b) as rho, count(*) as n
    from ranked
    group by sweep_id, algorithm_a, algorithm_b
)
select *, case when n > 2 then spearman_p_value(rho, n) end as p_value
from found
order by sweep_id, algorithm_a, algorithm_b
