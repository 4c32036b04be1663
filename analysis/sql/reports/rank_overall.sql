-- The hardest (or easiest) samples of one sweep over the algorithms that seed_agreement counts, by
-- mean percentile of difficulty, and where samples are tied in that by their mean place; one row
-- per sample and algorithm.
select
    o.sample_id, a.sample_path, o.label, o.mean_percentile, o.tied,
    d.algorithm, d.difficulty_rank, d.place
from overall_difficulty($sweep) as o
join difficulty as d on d.sweep_id = $sweep and d.sample_id = o.sample_id
join seed_agreement as s
    on s.sweep_id = d.sweep_id and s.algorithm = d.algorithm and s.is_counted
join attempts as a on a.sweep_id = d.sweep_id and a.run_id = d.run_id
where if($easiest, o.from_easiest, o.from_hardest) <= $top
order by if($easiest, o.from_easiest, o.from_hardest), d.algorithm
