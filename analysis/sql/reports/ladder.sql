-- What a look at the base model costs, and how far it orders the samples of one sweep as GT does: a
-- row an algorithm and factor that is known beforehand, and one for the index, of whose predictions
-- those are taken that are shown (see graded_predictions). best: whether nothing that costs as
-- little has a higher |rho|.
with sweep as (
    from sweeps where sweep_id = $sweep
),
cost as (
    select c.* from internal.factor_costs as c join sweep as s on s.base_run_id = c.base_run_id
),
rung as (
    select
        c.algorithm, 'factor' as kind, c.factor as name, f.title, f.family, c.n, c.rho, t.seconds,
        t.of_attempt
    from correlations as c
    join factor_catalog as f on f.factor = c.factor and f.phase = 'pre'
    join cost as t on t.kind = 'factors' and t.name = f.family
    where c.sweep_id = $sweep and c.population = 'all' and c.rho is not null
    union all
    select
        s.algorithm, 'index' as kind, 'index' as name, 'the index' as title, null as family, s.n,
        s.rho, t.seconds, t.of_attempt
    from prediction_scores as s
    join graded_predictions($sweep) as g
        on g.prediction_id = s.prediction_id and g.algorithm = s.algorithm
    join cost as t on t.kind = 'index' and t.name = s.algorithm
    where s.sweep_id = $sweep and s.target = 'gt' and s.rho is not null
)
select
    *, abs(rho) as strength,
    abs(rho) >= max(abs(rho)) over (
        partition by algorithm order by seconds range between unbounded preceding and current row
    ) as best
from rung
order by algorithm, seconds, strength desc, name
