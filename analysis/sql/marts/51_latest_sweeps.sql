-- latest_sweeps: the row of sweeps of the sweep that `--sweep latest` means: the one that began
-- last.
-- example: select sweep, planned, finished from latest_sweeps
create view latest_sweeps as
select * from sweeps
order by started_at desc, sweep_id
limit 1
