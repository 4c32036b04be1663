-- correlate_and_test(reading, fixed, population, sweep, target := 'gt'): the rows of correlate with
-- p-values and intervals. Needs functions of ours that a plain DuckDB lacks.
-- ci_low, ci_high: by jackknife in a mixture of two regimes of GT, where the formula of Bonett and
-- Wright would be too narrow.
-- p_holm, p_bh: without the ingredients of the target, whose correlation with it is no question.
create macro correlate_and_test(reading, fixed, population, sweep, target := 'gt') as table
with found as materialized (
    from correlate(reading, fixed, population, sweep := sweep, target := target)
),
listed as (
    select p.sweep_id, p.algorithm, p.factor, list([p.value, p.measured]) as pairs
    from correlation_pairs(reading, fixed, population, sweep, target := target) as p
    join found as f
        on f.sweep_id = p.sweep_id and f.algorithm = p.algorithm and f.factor = p.factor
    where f.n <= 9 or abs(f.rho) = 1 or is_mixed(f.flipped, f.n)
    group by p.sweep_id, p.algorithm, p.factor
),
tested as materialized (
    select
        c.*, i.factor is not null as ingredient,
        f.family = 'membership' and a.better_than_chance is false as at_chance,
        p_value_of(c.rho, c.n, l.pairs) as p_value,
        case when is_mixed(c.flipped, c.n) then jackknife_interval(l.pairs) end as ends
    from found as c
    join factor_catalog as f on f.factor = c.factor
    left join internal.ingredients as i on i.factor = c.factor and i.target = c.target
    left join listed as l
        on l.sweep_id = c.sweep_id and l.algorithm = c.algorithm and l.factor = c.factor
    left join internal.attacks as a on a.sweep_id = c.sweep_id and a.algorithm = c.algorithm
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
    sweep_id, dataset, algorithm, factor, title, phase, target as target,
    population as population, rho, n, flipped, ties, p_value,
    coalesce(ends[1], interval_end(rho, n, -1)) as ci_low,
    coalesce(ends[2], interval_end(rho, n, 1)) as ci_high,
    interval_by(ci_low, ends) as ci_by,
    case when counts then holm(p_value, place, tests, (sweep_id, counts)) end as p_holm,
    case when counts then least(1, min(p_value * tests / last_place) over (
        partition by sweep_id, counts order by p_value desc
    )) end as p_bh,
    ingredient, partial_rho, partial_n, within_class_rho, within_class_n, undefined,
    at_chance, position
from ordered
