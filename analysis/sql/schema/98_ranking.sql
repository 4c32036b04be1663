-- ranking(in_sweep, target): one row per algorithm and sample of a sweep that has the target: how
-- hard the sample was to unlearn by it, as in difficulty.
-- target: gt; z, where the most remembered are the hardest; or points_lost, where those are that
-- cost the most test accuracy.
-- difficulty_rank, tied: as in difficulty, 1 is the hardest, and how many others are equal.
-- percentile: the share of samples that are easier, in percent, ties counted half.
-- place, ordered_by: as in difficulty; by other targets than gt the rank again, and the target.
-- is_counted: whether the algorithm counts in the order over all: by gt as in seed_agreement, else
-- each does.
-- example: from ranking('6dc7e1c80c4b4b8ab4c4d3a6f7f0d8a1', 'z') order by algorithm, place
create macro ranking(in_sweep, target) as table
with measured as (
    select
        algorithm, sample_id, label, run_id,
        case target when 'z' then z when 'points_lost' then test_points_lost end as level
    from attempts
    where sweep_id = in_sweep
),
ranked as (
    select
        *,
        rank() over (partition by algorithm order by level desc) as difficulty_rank,
        peers(level, algorithm) - 1 as tied,
        count(*) over (partition by algorithm) as n
    from measured
    where level is not null
)
select
    algorithm, sample_id, label, run_id, difficulty_rank, tied,
    100 * (n - difficulty_rank - tied / 2 + 0.5) / n as percentile,
    difficulty_rank as place, target::text as ordered_by, true as is_counted
from ranked
union all
select
    d.algorithm, d.sample_id, d.label, d.run_id, d.difficulty_rank, d.tied, d.percentile, d.place,
    d.ordered_by, s.is_counted
from internal.difficulty as d
join internal.seed_agreement as s on s.sweep_id = d.sweep_id and s.algorithm = d.algorithm
where d.sweep_id = in_sweep and target = 'gt'
