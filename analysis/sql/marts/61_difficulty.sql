-- internal.difficulty: one row per sweep, algorithm and sample with a GT: how hard it was to
-- unlearn among the samples of the sweep.
-- average_rank: difficulty_rank with the mean of the ranks that ties span (1, 2.5, 2.5, 4), as rho
-- takes them.
-- place: the rank by GT in which samples with a GT of 0 are ordered by F: the less the probability
-- of its label fell, the harder the sample was. Samples that are equal in both share a place.
-- ordered_by: what decided the place: 'f' where F did, else 'gt'.
-- example: select sample_id, gt, tied from internal.difficulty where place <= 5
create table internal.difficulty as
with ranked as (
    select
        sweep_id, algorithm, sample_id, label, gt, run_id,
        rank() over (partition by sweep_id, algorithm order by gt) as difficulty_rank,
        peers(gt, (sweep_id, algorithm)) - 1 as tied,
        difficulty_rank + tied / 2 as average_rank,
        if(gt = 0, f, 0) as fall,
        count(*) over (partition by sweep_id, algorithm) as n
    from internal.outcomes
    where gt is not null
)
select
    sweep_id, algorithm, sample_id, label, gt, difficulty_rank, average_rank,
    100 * (n - average_rank + 0.5) / n as percentile, tied,
    rank() over (partition by sweep_id, algorithm order by gt, fall) as place,
    if(gt = 0 and tied > 0, 'f', 'gt') as ordered_by, run_id
from ranked
order by sweep_id, algorithm, place, sample_id
