-- One sweep beside the paper's Table 1, a row a population, data set of the paper's and algorithm:
-- over the factors whose rho we have, but those that are U, how many signs agree, between which
-- numbers 95% of tosses of a coin lie (chance_low, chance_high: what chance gives if the signs were
-- independent), how many of our intervals exclude the paper's value, and Spearman's rho of our rho
-- with the paper's. Needs a function of ours that a plain DuckDB lacks.
with ranked as (
    select
        *,
        twice_average_rank(rho, (population, against, algorithm)) as our_rank,
        twice_average_rank(paper_rho, (population, against, algorithm)) as paper_rank
    from comparison
    where
        sweep_id = $sweep and ($against is null or against = $against) and rho is not null
        and not is_u
)
select
    population, against, algorithm, count(*) as factors,
    count(*) filter (signs_agree) as signs_agree,
    signs_by_chance(0.025, count(*))::bigint as chance_low,
    signs_by_chance(0.975, count(*))::bigint as chance_high,
    count(*) filter (excludes) as excluded,
    pearson(our_rank, paper_rank) as rho_of_rhos
from ranked
group by population, against, algorithm
order by population, paper_order(against), algorithm
