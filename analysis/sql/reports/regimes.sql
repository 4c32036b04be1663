-- Which of its two aims bounds GT in one sweep, a row an algorithm and population that has any GT:
-- how many members are in either regime, how many have a GT of 0, and Spearman's rho of GT with U
-- and with F, of which it is made. mixed: whether many members flipped and many did not (see
-- is_mixed).
with member as (
    select o.algorithm, p.population, o.u, o.f, o.gt, o.regime, o.status = 'flipped' as flipped
    from internal.outcomes as o
    join (values ('all'), ('flipped'), ('not_flipped')) as p (population)
        on p.population = 'all' or (p.population = 'flipped') = (o.status = 'flipped')
    where o.sweep_id = $sweep and o.gt is not null
),
ranked as (
    select
        algorithm, population, regime, gt, flipped,
        twice_centred_rank(gt, (algorithm, population)) as gt_rank,
        twice_centred_rank(u, (algorithm, population)) as u_rank,
        twice_centred_rank(f, (algorithm, population)) as f_rank
    from member
)
select
    algorithm, population, count(*) as n,
    count(*) filter (regime = 'utility') as utility,
    count(*) filter (regime = 'forgetting') as forgetting,
    count(*) filter (gt = 0) as zero,
    pearson(gt_rank, u_rank) as rho_u,
    pearson(gt_rank, f_rank) as rho_f,
    is_mixed(count(*) filter (flipped), n) as mixed
from ranked
group by algorithm, population
order by algorithm, population
