-- internal.repeat_pairs: one row per design, target and pair of its repeats: how far they agree in
-- it, over the n samples that have the target in every repeat.
-- repeat_a, repeat_b: the numbers of the two repeats.
-- rho: Spearman's, of the target between the two.
-- example: select design, repeat_a, repeat_b, rho, n from internal.repeat_pairs where target = 'gt'
create table internal.repeat_pairs as
select
    a.design, a.target, a.repeat as repeat_a, b.repeat as repeat_b,
    pearson(a.measured_rank, b.measured_rank) as rho, count(*) as n
from internal.complete_repeats as a
join internal.complete_repeats as b
    on b.design = a.design and b.target = a.target and b.sample_id = a.sample_id
        and b.repeat > a.repeat
group by a.design, a.target, a.repeat, b.repeat
order by a.design, a.target, a.repeat, b.repeat
