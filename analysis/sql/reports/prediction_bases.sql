-- The base models for which there are predictions.
select distinct base_run_id from predictions order by base_run_id
