-- difficulty: one row per sweep, algorithm and sample with a GT. Rank 1 is the hardest, ties get
-- their average rank; percentile is the share of samples that are easier, ties counted half.
-- example: select sample_id, gt from difficulty where difficulty_rank <= 5
create table difficulty as
with ranked as (
    select
        sweep_id, algorithm, sample_id, label, gt, run_id,
        twice_average_rank(gt, (sweep_id, algorithm)) / 2 as difficulty_rank,
        count(*) over (partition by sweep_id, algorithm) as n
    from outcomes
    where gt is not null
)
select
    sweep_id, algorithm, sample_id, label, gt, difficulty_rank,
    100 * (n - difficulty_rank + 0.5) / n as percentile, run_id
from ranked
order by sweep_id, algorithm, difficulty_rank, sample_id
