-- ceilings: one row per sweep, algorithm and source of repeats that it is one of: the reliability of
-- one measurement of its GT, and the most to expect of a factor's correlation with it, both with
-- their 95% intervals: see the column ceiling of reliability for which factors it holds.
-- example: select algorithm, source, ceiling from ceilings
create table ceilings as
with done as (
    select distinct
        o.sweep_id, o.algorithm, r.settings, r.engine_version, r.precision, r.seed,
        b.base_run_id, b.dataset, b.arch, b.recipe, b.data_fingerprint
    from outcomes as o
    join runs as r on r.run_id = o.run_id
    join sweeps as s on s.sweep_id = o.sweep_id
    join base_models as b on b.base_run_id = s.base_run_id
)
select
    d.sweep_id, d.algorithm, t.source, t.repeats, t.n, t.mean_rho, t.mean_rho_low, t.mean_rho_high,
    t.ceiling, t.ceiling_low, t.ceiling_high
from done as d
join reliability as t
    on t.algorithm = d.algorithm and t.settings = d.settings and t.dataset = d.dataset
    and t.engine_version = d.engine_version and t.precision = d.precision
    and t.arch = d.arch and t.recipe is not distinct from d.recipe
    and t.data_fingerprint is not distinct from d.data_fingerprint
    and (t.base_run_id = d.base_run_id or t.seed = d.seed)
order by d.sweep_id, d.algorithm, t.source
