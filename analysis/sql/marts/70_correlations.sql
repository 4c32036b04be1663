-- correlations: one row per sweep (and so base model), algorithm, factor and population (all
-- members with a GT, those whose prediction flipped, or the others): Spearman's rho of the factor
-- against GT (lambda = set sizes), its p-values and interval, and rho given the initial margin and
-- within classes: see the macros correlate and correlate_and_test. ingredient: GT is made of the
-- factor, so rho is by construction.
-- p_holm: Holm's family is one sweep and population. The interval holds for one base model and one
-- seed of unlearning; ci_by says how it was made.
-- at_chance: whether the factor says what a membership attack says that is not known to be better
-- than chance (attacks): then a small p-value means nothing.
-- example: select factor, rho from correlations where algorithm = 'ga' and population = 'all'
create table correlations as
select c.sweep_id, s.base_run_id, c.* exclude (sweep_id, position)
from (
    from correlate_and_test('set_sizes', null, 'all', null)
    union all
    from correlate_and_test('set_sizes', null, 'flipped', null)
    union all
    from correlate_and_test('set_sizes', null, 'not_flipped', null)
) as c
join sweeps as s on s.sweep_id = c.sweep_id
order by c.sweep_id, c.population, c.algorithm, c.position
