-- prediction_scores: one row per prediction run, sweep that attempted what it predicted, algorithm
-- and target: how well it knew, over the n attempts that have a GT and a prediction of the target.
-- Predictions and attempts meet by key: the same algorithm, settings, seed and sample.
-- rho: Spearman's, of predicted and measured values, with ties at their average rank.
-- ceiling: the most to expect, of gt and points_lost where the sweep was repeated with other seeds
-- of unlearning (see ceilings); NULL where the target cannot be told from chance.
-- rho_of_ceiling: rho / ceiling.
-- precision_1, precision_5, precision_10: which share of the 1%, 5% and 10% of samples that were
-- predicted to be the hardest (lowest GT, most steps or damage) are among as many that were; ties
-- across the border share its places. NULL of flips.
-- brier: mean of (predicted probability - flipped)^2, of flips only (Brier 1950). Of attempts until
-- the reference those count as flipped that arrive there.
-- brier_of_rate: what the share that flipped would have had, said of every sample.
-- coverage: the share of attempts whose value lies in its 90% interval, of intervals of them.
-- intervals: how many attempts had an interval.
-- members: how many attempts were predicted, graded or not.
-- late, calibrated: how many of them had begun before, and how many it was calibrated on.
-- refused: why it is not graded: it was made after an attempt, or calibrated on one. Then all
-- scores are NULL.
-- example: select target, rho from prediction_scores where sweep_id = find_sweep('latest')
create table prediction_scores as
with spread as (
    select
        p.prediction_id, o.sweep_id, p.algorithm, p.sample_id, p.made_at, s.base_run_id,
        o.status in ('flipped', 'at_reference') as flipped, p.attempted_before, p.calibrated_on_it,
        o.gt is not null as has_gt, p.first_attempted_at,
        unnest([
            {
                target: 'gt', predicted: p.predicted_gt, measured: o.gt, harder: 1,
                low: p.predicted_gt_low, high: p.predicted_gt_high
            },
            {
                target: 'steps', predicted: p.predicted_steps, measured: o.steps::double,
                harder: -1,
                low: p.predicted_steps_low, high: p.predicted_steps_high
            },
            {
                target: 'prob_lost', predicted: p.predicted_prob_lost, measured: 1 - o.u,
                harder: -1,
                low: p.predicted_prob_lost_low, high: p.predicted_prob_lost_high
            },
            {
                target: 'points_lost', predicted: p.predicted_points_lost,
                measured: o.test_points_lost,
                harder: -1, low: p.predicted_points_lost_low, high: p.predicted_points_lost_high
            },
            {
                target: 'flips', predicted: p.predicted_flips,
                measured: (o.status in ('flipped', 'rewound', 'at_reference'))::int::double,
                harder: 1,
                low: null::double, high: null::double
            }
        ]) as of_target
    from predictions as p
    join internal.runs as r on r.key = p.key
    join attempts as o on o.run_id = r.run_id
    join sweeps as s on s.sweep_id = o.sweep_id
),
pair as (
    select
        * exclude (of_target), of_target.target, of_target.predicted, of_target.measured,
        of_target.harder, of_target.low, of_target.high
    from spread
),
asked as (
    select
        prediction_id, sweep_id, algorithm, target,
        any_value(made_at) as made_at, any_value(base_run_id) as base_run_id,
        count(*) as members,
        count(*) filter (attempted_before) as late, min(first_attempted_at) as first_at,
        count(*) filter (calibrated_on_it) as calibrated
    from pair
    group by prediction_id, sweep_id, algorithm, target
),
fair as (
    select p.*, (p.prediction_id, p.sweep_id, p.algorithm, p.target) as question
    from pair as p
    join asked as a
        on a.prediction_id = p.prediction_id and a.sweep_id = p.sweep_id
            and a.algorithm = p.algorithm and a.target = p.target
    where a.late = 0 and a.calibrated = 0 and p.has_gt and p.predicted is not null
        and p.measured is not null
),
counted as (
    select *, count(*) over (partition by question) as n from fair
),
ranked as (
    select
        *,
        twice_average_rank(predicted, question) as predicted_rank,
        twice_average_rank(measured, question) as measured_rank,
        [
            place_among_lowest(greatest(1, round(n * 0.01)), predicted * harder, question)
            * place_among_lowest(greatest(1, round(n * 0.01)), measured * harder, question),
            place_among_lowest(greatest(1, round(n * 0.05)), predicted * harder, question)
            * place_among_lowest(greatest(1, round(n * 0.05)), measured * harder, question),
            place_among_lowest(greatest(1, round(n * 0.1)), predicted * harder, question)
            * place_among_lowest(greatest(1, round(n * 0.1)), measured * harder, question)
        ] as shared
    from counted
),
-- Sums and means of ordered lists, so that the last bit is always the same.
found as (
    select
        prediction_id, sweep_id, algorithm, target, any_value(n) as n,
        pearson(predicted_rank, measured_rank) as rho,
        is_mixed(count(*) filter (flipped), count(*)) as mixed,
        list([predicted, measured]) as pairs,
        list_sum(list(shared[1] order by sample_id)) / greatest(1, round(count(*) * 0.01)) as of_1,
        list_sum(list(shared[2] order by sample_id)) / greatest(1, round(count(*) * 0.05)) as of_5,
        list_sum(list(shared[3] order by sample_id)) / greatest(1, round(count(*) * 0.1)) as of_10,
        list_avg(list((predicted - measured) ** 2 order by sample_id)) as square,
        avg(measured) as mean_measured,
        count(low) as intervals,
        count(*) filter (measured between low and high) / nullif(count(low), 0) as coverage
    from ranked
    group by prediction_id, sweep_id, algorithm, target
),
resampled as (
    select
        * exclude (pairs), case when mixed and target != 'flips' then jackknife_interval(pairs) end
            as ends
    from found
)
select
    a.prediction_id, a.sweep_id, a.base_run_id, a.made_at, a.algorithm, a.target,
    coalesce(f.n, 0) as n, f.rho,
    coalesce(f.ends[1], interval_end(f.rho, f.n, -1)) as ci_low,
    coalesce(f.ends[2], interval_end(f.rho, f.n, 1)) as ci_high,
    interval_by(ci_low, f.ends) as ci_by,
    case when coalesce(c.ceiling_low, 1) > 0 then c.ceiling end as ceiling,
    case when coalesce(c.ceiling_low, 1) > 0 then f.rho / c.ceiling end as rho_of_ceiling,
    case when a.target != 'flips' then f.of_1 end as precision_1,
    case when a.target != 'flips' then f.of_5 end as precision_5,
    case when a.target != 'flips' then f.of_10 end as precision_10,
    case when a.target = 'flips' then f.square end as brier,
    case when a.target = 'flips' then f.mean_measured * (1 - f.mean_measured) end as brier_of_rate,
    f.coverage, coalesce(f.intervals, 0) as intervals,
    a.members, a.late, a.calibrated,
    case
        when a.late > 0
            then a.late || ' of ' || a.members || ' attempts had begun before it was made'
                || case
                    when a.first_at < a.made_at
                        then ' (the first at ' || a.first_at || ', it at ' || a.made_at
                            || ', UTC by the clocks of their machines)'
                    else ''
                end
        when a.calibrated > 0
            then a.calibrated || ' of ' || a.members || ' attempts are among those that it was '
                || 'calibrated on'
    end as refused
from asked as a
left join resampled as f
    on f.prediction_id = a.prediction_id and f.sweep_id = a.sweep_id
        and f.algorithm = a.algorithm and f.target = a.target
left join ceilings as c
    on c.sweep_id = a.sweep_id and c.algorithm = a.algorithm and c.target = a.target
        and c.varied = 'unlearning seed'
order by
    a.sweep_id, a.made_at, a.prediction_id, a.algorithm,
    list_position(['gt', 'steps', 'prob_lost', 'points_lost', 'flips'], a.target)
