-- complete_repeats: one row per design, repeat and sample, as in repeats, of those samples that
-- have a GT in every repeat, where there are several.
-- gt_rank: twice the average rank of the GT in its repeat, a whole number.
-- example: select design, count(distinct sample_id) as n from complete_repeats group by design
create table complete_repeats as
with complete as (
    select design, repeat, repeats, sample_id, gt
    from repeats
    where repeats > 1
    qualify count(*) over (partition by design, sample_id) = repeats
)
select
    design, repeat, repeats, sample_id, gt, twice_average_rank(gt, (design, repeat)) as gt_rank
from complete
order by design, repeat, sample_id
