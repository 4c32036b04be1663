-- predictors: one row per fitted model (a run with a card), algorithm and target: how well it knew
-- samples that it was not fitted on, in folds of samples, as the card says.
-- predictor: the name of the run.
-- rho: Spearman's, with the means over repeats.
-- rho_low, rho_high: its 95% interval by bootstrap over samples.
-- index_rho: that of the index; NULL where it has no forecast.
-- margin_rho: the absolute value of that of the factor margin.
-- coverage: the share of single attempts in their 90% interval, whose width came from other folds.
-- brier, index_brier, rate_brier: the Brier scores of flips, of the index, and of their rate
-- alone.
-- fitted_at: when the card was whole in the store, UTC.
-- example: select algorithm, target, rho, index_rho, margin_rho from predictors
create table predictors as
with param as (
    select
        run_id,
        max(value) filter (key = 'dataset') as dataset,
        max(value) filter (key = 'arch') as arch
    from staging.params
    group by run_id
),
score as (
    select
        run_id, split_part(key, '/', 1) as algorithm, split_part(key, '/', 2) as target,
        split_part(key, '/', 3) as name, value
    from staging.metrics
)
select
    r.run_id as predictor_id, r.name as predictor, p.dataset, p.arch, s.algorithm, s.target,
    (max(s.value) filter (s.name = 'n'))::bigint as n,
    max(s.value) filter (s.name = 'rho') as rho,
    max(s.value) filter (s.name = 'rho_low') as rho_low,
    max(s.value) filter (s.name = 'rho_high') as rho_high,
    max(s.value) filter (s.name = 'index_rho') as index_rho,
    max(s.value) filter (s.name = 'margin_rho') as margin_rho,
    max(s.value) filter (s.name = 'coverage') as coverage,
    max(s.value) filter (s.name = 'brier') as brier,
    max(s.value) filter (s.name = 'index_brier') as index_brier,
    max(s.value) filter (s.name = 'rate_brier') as rate_brier,
    r.end_time as fitted_at
from staging.runs as r
join score as s on s.run_id = r.run_id
left join param as p on p.run_id = r.run_id
where r.kind = 'predictor' and r.status = 'FINISHED'
group by r.run_id, r.name, r.end_time, p.dataset, p.arch, s.algorithm, s.target
order by
    fitted_at, predictor_id, s.algorithm,
    list_position(['gt', 'steps', 'prob_lost', 'points_lost', 'flips'], s.target)
