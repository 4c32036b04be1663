-- One sweep beside the paper's Table 1, against one of its data sets or (NULL) all, over one
-- population ('all' or 'flipped') or (NULL) both.
select c.*
from comparison as c
join factor_catalog as f on f.factor = c.factor
where
    c.sweep_id = $sweep and ($against is null or c.against = $against)
    and ($population is null or c.population = $population)
order by
    paper_order(c.against), c.population, f.position, c.algorithm
