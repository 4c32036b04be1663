-- How probable the networks of one sweep found their samples' labels by step, over all attempts of
-- an algorithm: the median, and the middle 80%, as drawn on a scale down to 0.001. An attempt that
-- has ended stays where it was.
with history as (
    select
        a.algorithm, h.run_id, h.step,
        round(greatest(h.forget_prob, 0.001), 5) as forget_prob
    from attempts as a
    join histories as h on h.run_id = a.run_id
    where a.sweep_id = $sweep
),
asked as (
    select s.algorithm, s.step, a.run_id
    from (select distinct algorithm, step from history) as s
    join (select distinct algorithm, run_id from history) as a on a.algorithm = s.algorithm
)
select
    q.algorithm, q.step, quantile_cont(h.forget_prob, 0.1) as low,
    median(h.forget_prob) as middle, quantile_cont(h.forget_prob, 0.9) as high
from asked as q
asof join history as h on h.run_id = q.run_id and h.step <= q.step
group by q.algorithm, q.step
order by q.algorithm, q.step
