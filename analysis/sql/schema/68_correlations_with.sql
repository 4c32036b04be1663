-- correlations_with(target, sweep := null): the rows of correlations, of any target and of one
-- sweep or all. Needs functions of ours that a plain DuckDB lacks.
create macro correlations_with(target, sweep := null) as table
select c.sweep_id, s.base_run_id, c.* exclude (sweep_id, position)
from (
    from correlate_and_test('set_sizes', null, 'all', sweep, target := target)
    union all
    from correlate_and_test('set_sizes', null, 'flipped', sweep, target := target)
    union all
    from correlate_and_test('set_sizes', null, 'not_flipped', sweep, target := target)
) as c
join sweeps as s on s.sweep_id = c.sweep_id
order by c.sweep_id, c.population, c.algorithm, c.position
