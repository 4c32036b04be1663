-- comparison: one row per sweep, data set of the paper's (against), algorithm and factor that both
-- have: our rho over all members with its 95% interval, the paper's rho, whether their signs agree,
-- and whether our interval excludes the paper's value.
-- example: select against, factor, rho, paper_rho from comparison where algorithm = 'ga'
create table comparison as
select
    c.sweep_id, c.dataset, p.dataset as against, c.algorithm, c.factor, c.rho, c.n, c.ci_low,
    c.ci_high, p.rho as paper_rho, sign(c.rho) = sign(p.rho) as signs_agree,
    p.rho not between c.ci_low and c.ci_high as excludes, c.ingredient, c.undefined, p.remark
from correlations as c
join paper_table as p on p.algorithm = c.algorithm and p.factor = c.factor
join factor_catalog as f on f.factor = c.factor
where c.population = 'all'
order by c.sweep_id, against, c.algorithm, f.position
