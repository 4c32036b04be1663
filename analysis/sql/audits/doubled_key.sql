-- A finished child run with the key of another one, so that both did the same. The run whose id
-- follows from the key stays, else the newest.
select
    run_id, run_name as name, 'another run has its key ' || key as problem, 'discard' as repair
from internal.runs
where run_status = 'FINISHED'
qualify
    row_number() over (
        partition by key order by run_id = run_id_of(key) desc, start_time desc, run_id
    ) > 1
