-- intraclass_correlations: one row per design that has several repeats with samples in common: how
-- far their GT agree in value, not only in order.
-- example: select design, n, icc from intraclass_correlations
create table intraclass_correlations as
-- Sums and means of ordered lists, so that the last bit is always the same.
with of_all as (
    select design, list_avg(list(gt order by sample_id, repeat)) as mean
    from complete_repeats
    group by design
),
of_sample as (
    select design, sample_id, list_avg(list(gt order by repeat)) as mean
    from complete_repeats
    group by design, sample_id
),
of_repeat as (
    select design, repeat, list_avg(list(gt order by sample_id)) as mean
    from complete_repeats
    group by design, repeat
),
centred as (
    select
        c.design, c.repeat, c.sample_id, c.gt, c.repeats as k, a.mean,
        s.mean as sample_mean, r.mean as repeat_mean
    from complete_repeats as c
    join of_all as a on a.design = c.design
    join of_sample as s on s.design = c.design and s.sample_id = c.sample_id
    join of_repeat as r on r.design = c.design and r.repeat = c.repeat
),
mean_squares as (
    select
        design, k, count(*) / k as n, min(gt) = max(gt) as constant,
        list_sum(list((sample_mean - mean) ** 2 order by sample_id, repeat)) / (n - 1) as samples,
        list_sum(list((repeat_mean - mean) ** 2 order by sample_id, repeat)) / (k - 1) as repeats,
        list_sum(list((gt - sample_mean - repeat_mean + mean) ** 2 order by sample_id, repeat))
        / ((n - 1) * (k - 1)) as errors
    from centred
    group by design, k
)
select
    design, n::bigint as n,
    case
        when not constant and n > 1
            then
                (samples - errors)
                / nullif(samples + (k - 1) * errors + k * (repeats - errors) / n, 0)
    end as icc
from mean_squares
order by design
