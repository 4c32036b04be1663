-- correlate_and_test(reading, fixed, population, sweep): the rows of correlate with their p-values
-- (two-sided, of t), 95% intervals (Bonett & Wright 2000) and p-values corrected by Holm and by
-- Benjamini & Hochberg: over all defined ones of a sweep, all algorithms together, the ingredients
-- of GT left out, as they are no questions. Needs a function of ours that a plain DuckDB lacks.
create macro correlate_and_test(reading, fixed, population, sweep) as table
with tested as (
    select
        c.*, f.ingredient, case when c.n > 2 then spearman_p_value(c.rho, c.n) end as p_value
    from correlate(reading, fixed, population, sweep := sweep) as c
    join factor_catalog as f on f.factor = c.factor
),
ordered as (
    select
        *,
        p_value is not null and not ingredient as counts,
        rank() over (partition by sweep_id, counts order by p_value) as place,
        place + peers(p_value, (sweep_id, counts)) - 1 as last_place,
        count(*) over (partition by sweep_id, counts) as tests
    from tested
)
select
    sweep_id, dataset, algorithm, factor, population as population, rho, n, ties, p_value,
    interval_end(rho, n, -1) as ci_low,
    interval_end(rho, n, 1) as ci_high,
    case when counts then least(1, max(p_value * (tests - place + 1)) over (
        partition by sweep_id, counts order by p_value
    )) end as p_holm,
    case when counts then least(1, min(p_value * tests / last_place) over (
        partition by sweep_id, counts order by p_value desc
    )) end as p_bh,
    ingredient, partial_rho, partial_n, within_class_rho, within_class_n, undefined, position
from ordered
