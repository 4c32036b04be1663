-- graded_predictions(in_sweep): one row per algorithm of a sweep of which the index predicted
-- something that is graded: the id of the prediction that report and figures show, of several the
-- one of most attempts, and of equal ones the first.
-- example: from graded_predictions('6dc7e1c80c4b4b8ab4c4d3a6f7f0d8a1')
create macro graded_predictions(in_sweep) as table
select algorithm, prediction_id
from prediction_scores
where
    sweep_id = in_sweep and target = 'gt' and refused is null and n > 0
qualify row_number() over (partition by algorithm order by n desc, made_at, prediction_id) = 1
