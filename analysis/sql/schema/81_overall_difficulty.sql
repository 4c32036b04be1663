-- overall_difficulty(in_sweep): one row per sample of a sweep that has a GT, over all algorithms.
-- mean_percentile: the mean over the algorithms of the percentage of samples that are easier.
-- tied: how many others have the same mean percentile.
-- mean_place: the mean of `place` (see difficulty), which decides among those that are tied.
-- from_hardest: position from 1, the hardest first.
-- from_easiest: position from 1, the easiest first.
-- example: from overall_difficulty('6dc7e1c80c4b4b8ab4c4d3a6f7f0d8a1') order by from_hardest
create macro overall_difficulty(in_sweep) as table
with sample as (
    select
        sample_id, label,
        list_avg(list(percentile order by algorithm)) as mean_percentile,
        round(mean_percentile, 9) as level, -- the same percentiles in another order are a tie
        list_avg(list(place order by algorithm)) as mean_place
    from difficulty
    where sweep_id = in_sweep
    group by sample_id, label
)
select
    sample_id, label, mean_percentile, peers(level, true) - 1 as tied, mean_place,
    row_number() over (order by -level, mean_place, sample_id) as from_hardest,
    row_number() over (order by level, -mean_place, sample_id) as from_easiest
from sample
