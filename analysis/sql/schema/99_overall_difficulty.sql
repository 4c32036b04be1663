-- overall_difficulty(in_sweep, target := 'gt'): one row per sample of a sweep that has the target,
-- over the algorithms that count in its ranking.
-- mean_percentile: the mean over the algorithms of the share of samples that are easier.
-- tied: how many other samples have the same mean percentile.
-- target: gt, z or points_lost, see ranking.
-- mean_place: the mean of `place` (see difficulty), which decides among these.
-- from_hardest, from_easiest: the position of the sample, from 1, counted from either end.
-- example: from overall_difficulty('6dc7e1c80c4b4b8ab4c4d3a6f7f0d8a1') order by from_hardest
create macro overall_difficulty(in_sweep, target := 'gt') as table
with sample as (
    select
        sample_id, label,
        list_avg(list(percentile order by algorithm)) as mean_percentile,
        round(mean_percentile, 9) as level, -- the same percentiles in another order are a tie
        list_avg(list(place order by algorithm)) as mean_place
    from ranking(in_sweep, target)
    where is_counted
    group by sample_id, label
)
select
    sample_id, label, mean_percentile, peers(level, true) - 1 as tied, mean_place,
    row_number() over (order by -level, mean_place, sample_id) as from_hardest,
    row_number() over (order by level, -mean_place, sample_id) as from_easiest
from sample
