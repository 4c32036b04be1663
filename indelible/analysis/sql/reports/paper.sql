-- The paper's rho for the factors and algorithms of one sweep, a row a data set of the paper's.
select factor, algorithm, against, paper_rho, signs_agree, excludes, remark
from comparison
where sweep_id = $sweep
order by factor, algorithm, case against when 'svhn' then 1 when 'mnist' then 2 else 3 end
