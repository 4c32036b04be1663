-- attempts: one row per finished attempt of a sweep to unlearn a sample: all that is known of it,
-- with a column for each factor, NULL where it is undefined. An attempt that was already there when
-- a later sweep asked for it belongs to both, so ask of one sweep: where sweep = 'its name', or
-- where sweep_id = find_sweep('latest').
-- example: select sweep, algorithm, status, count(*) as n from attempts group by all
create table attempts as
with wide as (
    from (
        pivot (from factors)
        on factor in (
            select factor
            from factor_catalog
            where lower(factor) not in (
                    select column_name from duckdb_columns()
                    where table_name in ('outcomes', 'difficulty')
                )
            order by position, factor
        )
        using first(value)
        group by run_id
    )
)
select
    o.* exclude (start_time, key, run_id), d.difficulty_rank, d.percentile, d.tied, o.start_time,
    o.key, o.run_id, w.* exclude (run_id)
from internal.outcomes as o
left join internal.difficulty as d on d.sweep_id = o.sweep_id and d.run_id = o.run_id
left join wide as w on w.run_id = o.run_id
