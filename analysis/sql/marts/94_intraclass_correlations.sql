-- internal.intraclass_correlations: one row per design and target that has several repeats with
-- samples in common: how far they agree in value, not only in order.
-- example: select design, n, icc from internal.intraclass_correlations where target = 'gt'
create table internal.intraclass_correlations as
-- Sums and means of ordered lists, so that the last bit is always the same.
with of_all as (
    select design, target, list_avg(list(measured order by sample_id, repeat)) as mean
    from internal.complete_repeats
    group by design, target
),
of_sample as (
    select design, target, sample_id, list_avg(list(measured order by repeat)) as mean
    from internal.complete_repeats
    group by design, target, sample_id
),
of_repeat as (
    select design, target, repeat, list_avg(list(measured order by sample_id)) as mean
    from internal.complete_repeats
    group by design, target, repeat
),
centred as (
    select
        c.design, c.target, c.repeat, c.sample_id, c.measured, c.repeats as k, a.mean,
        s.mean as sample_mean, r.mean as repeat_mean
    from internal.complete_repeats as c
    join of_all as a on a.design = c.design and a.target = c.target
    join of_sample as s
        on s.design = c.design and s.target = c.target and s.sample_id = c.sample_id
    join of_repeat as r on r.design = c.design and r.target = c.target and r.repeat = c.repeat
),
mean_squares as (
    select
        design, target, k, count(*) / k as n, min(measured) = max(measured) as constant,
        list_sum(list((sample_mean - mean) ** 2 order by sample_id, repeat)) / (n - 1) as samples,
        list_sum(list((repeat_mean - mean) ** 2 order by sample_id, repeat)) / (k - 1) as repeats,
        list_sum(list(
            (measured - sample_mean - repeat_mean + mean) ** 2 order by sample_id, repeat
        )) / ((n - 1) * (k - 1)) as errors
    from centred
    group by design, target, k
)
select
    design, target, n::bigint as n,
    case
        when not constant and n > 1
            then
                (samples - errors)
                / nullif(samples + (k - 1) * errors + k * (repeats - errors) / n, 0)
    end as icc
from mean_squares
order by design, target
