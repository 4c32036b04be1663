-- comparison: one row per sweep, data set of the paper's, algorithm, factor that both have and
-- population: our rho beside the paper's. The paper does not say which of the populations its own
-- numbers are of: choose one.
-- population: all members with a GT, or those whose prediction flipped.
-- signs_agree: whether both have the same sign.
-- excludes: whether our interval excludes the paper's value.
-- example: select title, rho, paper_rho from comparison where sweep_id = find_sweep('latest')
create table comparison as
select
    c.sweep_id, c.dataset, p.against, c.algorithm, c.factor, c.title, c.phase, c.population, c.rho,
    c.n, c.ci_low, c.ci_high, p.paper_rho, sign(c.rho) = sign(p.paper_rho) as signs_agree,
    p.paper_rho not between c.ci_low and c.ci_high as excludes, c.ingredient, c.undefined, p.remark,
    p.is_u
from correlations as c
join internal.paper_table as p on p.algorithm = c.algorithm and p.factor = c.factor
join factor_catalog as f on f.factor = c.factor
where c.population in ('all', 'flipped')
order by c.sweep_id, against, c.population, c.algorithm, f.position
