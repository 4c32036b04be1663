-- The attempts of one sweep beside the same ones that were to end otherwise, at the reference
-- instead of the flip or at the flip instead of the reference, in whatever sweep they are. A row an
-- algorithm, over the samples of which both are judged; what is of the others begins with other.
with attempt as (
    select
        a.*, s.until, list_filter(map_entries(a.settings), lambda e: e['key'] != 'until') as how
    from attempts as a
    join sweeps as s on s.sweep_id = a.sweep_id
    where
        a.verdict is not null
        and a.base_run_id = (select base_run_id from sweeps where sweep_id = $sweep)
),
pair as (
    select
        a.algorithm, a.sample_id, a.verdict, a.test_points_lost,
        b.verdict as other_verdict, b.test_points_lost as other_points_lost
    from attempt as a
    join attempt as b
        on
            b.algorithm = a.algorithm and b.sample_id = a.sample_id and b.seed = a.seed
            and b.how = a.how and b.precision is not distinct from a.precision
            and b.until != a.until
    where a.sweep_id = $sweep
    qualify row_number() over (partition by a.run_id order by b.start_time desc, b.run_id) = 1
)
select
    algorithm, count(*) as samples,
    avg((verdict = 'forgotten')::integer) as forgotten,
    list_avg(list(test_points_lost order by sample_id)) as mean_points_lost,
    max(test_points_lost) as worst_points_lost,
    avg((other_verdict = 'forgotten')::integer) as other_forgotten,
    list_avg(list(other_points_lost order by sample_id)) as other_mean_points_lost,
    max(other_points_lost) as other_worst_points_lost
from pair
group by algorithm
order by algorithm
