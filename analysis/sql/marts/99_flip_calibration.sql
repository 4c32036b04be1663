-- internal.flip_calibration: one row per prediction run, sweep, algorithm and bin of the predicted
-- probability that a sample flips within the budget: how often it was right. Only of predictions
-- that are graded: see refused in prediction_scores.
-- low, high: the bin, a tenth: from low up to below high; the last has 1 too.
-- n: how many attempts are in it.
-- predicted: the mean of their predicted probabilities.
-- flip_rate: the share of them that flipped or, of attempts until the reference, arrived there.
-- example: select low, n, predicted, flip_rate from internal.flip_calibration
create table internal.flip_calibration as
with pair as (
    select
        p.prediction_id, o.sweep_id, p.algorithm, p.sample_id, p.predicted_flips as flips,
        o.status in ('flipped', 'rewound', 'at_reference') as flipped,
        least(9, floor(10 * p.predicted_flips))::bigint as bin
    from predictions as p
    join internal.runs as r on r.key = p.key
    join internal.outcomes as o on o.run_id = r.run_id
    join prediction_scores as s
        on s.prediction_id = p.prediction_id and s.sweep_id = o.sweep_id
            and s.algorithm = p.algorithm and s.target = 'flips' and s.refused is null
    where o.gt is not null and p.predicted_flips is not null
)
select
    prediction_id, sweep_id, algorithm, bin / 10 as low, (bin + 1) / 10 as high, count(*) as n,
    list_avg(list(flips order by sample_id)) as predicted,
    count(*) filter (flipped) / count(*) as flip_rate
from pair
group by prediction_id, sweep_id, algorithm, bin
order by prediction_id, sweep_id, algorithm, bin
