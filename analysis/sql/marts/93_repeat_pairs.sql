-- repeat_pairs: one row per design and pair of its repeats: how far their GT agree, over the n
-- samples that have a GT in every repeat.
-- repeat_a, repeat_b: the numbers of the two repeats.
-- rho: Spearman's, of GT between the two.
-- example: select design, repeat_a, repeat_b, rho, n from repeat_pairs
create table repeat_pairs as
select
    a.design, a.repeat as repeat_a, b.repeat as repeat_b, pearson(a.gt_rank, b.gt_rank) as rho,
    count(*) as n
from complete_repeats as a
join complete_repeats as b
    on b.design = a.design and b.sample_id = a.sample_id and b.repeat > a.repeat
group by a.design, a.repeat, b.repeat
order by a.design, a.repeat, b.repeat
