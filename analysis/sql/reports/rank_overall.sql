-- The hardest (or easiest) samples of one sweep by a target, over the algorithms that count in it
-- (see ranking), by mean percentile of difficulty, and where samples are tied in that by their mean
-- place; one row per sample and algorithm.
select
    o.sample_id, a.sample_path, o.label, o.mean_percentile, o.tied,
    d.algorithm, d.difficulty_rank, d.place
from overall_difficulty($sweep, target := $by) as o
join ranking($sweep, $by) as d on d.sample_id = o.sample_id and d.is_counted
join attempts as a on a.sweep_id = $sweep and a.run_id = d.run_id
where if($easiest, o.from_easiest, o.from_hardest) <= $top
order by if($easiest, o.from_easiest, o.from_hardest), d.algorithm
