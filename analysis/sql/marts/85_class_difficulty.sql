-- class_difficulty: one row per sweep, algorithm and label: how hard the samples of a class were.
-- n: how many samples have a GT.
-- mean_gt, mean_percentile: their mean GT and mean percentile of difficulty.
-- flip_rate: the share of attempts on samples of the class that flipped them.
-- example: select label, flip_rate from class_difficulty where sweep_id = find_sweep('latest')
create table class_difficulty as
select
    o.sweep_id, o.algorithm, o.label,
    count(o.gt) as n,
    list_avg(list(o.gt order by o.sample_id)) as mean_gt,
    count(*) filter (o.status = 'flipped')
    / nullif(count(*) filter (o.status != 'already_wrong'), 0) as flip_rate,
    list_avg(list(d.percentile order by o.sample_id)) as mean_percentile
from internal.outcomes as o
left join internal.difficulty as d on d.sweep_id = o.sweep_id and d.run_id = o.run_id
group by o.sweep_id, o.algorithm, o.label
order by o.sweep_id, o.algorithm, o.label
