-- One sweep beside the paper's Table 1, a row a data set of the paper's and algorithm: over the
-- factors whose rho we have, how many signs agree, how many of our intervals exclude the paper's
-- value, and Spearman's rho of our rho with the paper's.
with ranked as (
    select
        *,
        twice_average_rank(rho, (against, algorithm)) as our_rank,
        twice_average_rank(paper_rho, (against, algorithm)) as paper_rank
    from comparison
    where sweep_id = $sweep and ($against is null or against = $against) and rho is not null
)
select
    against, algorithm, count(*) as factors,
    count(*) filter (signs_agree) as signs_agree,
    count(*) filter (excludes) as excluded,
    pearson(our_rank, paper_rank) as rho_of_rhos
from ranked
group by against, algorithm
order by list_position(['svhn', 'mnist', 'cifar10'], against), algorithm
