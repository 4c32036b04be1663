-- internal.complete_repeats: one row per design, target, repeat and sample, as in repeats, of those
-- samples that have the target in every repeat, where there are several.
-- measured_rank: twice the average rank of the target in its repeat, a whole number.
-- example: select target, count(*) as n from internal.complete_repeats group by target
create table internal.complete_repeats as
with complete as (
    select design, target, repeat, repeats, sample_id, measured
    from internal.repeats
    where repeats > 1
    qualify count(*) over (partition by design, target, sample_id) = repeats
)
select
    design, target, repeat, repeats, sample_id, measured,
    twice_average_rank(measured, (design, target, repeat)) as measured_rank
from complete
order by design, target, repeat, sample_id
