-- A prediction or trial that was begun and not finished for ten minutes: its process is gone.
select r.run_id, r.name, 'half written: ' || r.status as problem, 'discard' as repair
from staging.runs as r
where r.kind in ('prediction', 'trial') and r.status != 'FINISHED'
    and epoch_ms(r.start_time::timestamp) < epoch_ms(now()) - 600000
