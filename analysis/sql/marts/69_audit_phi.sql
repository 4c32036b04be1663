-- internal.audit_phi: one row per audit, algorithm, sample and reference model: where the model
-- stands, to which an audit did this. Of the algorithm 'untouched' nothing was done.
-- model: the number of the reference model.
-- saw: whether the model was trained on the sample.
-- is_audited: whether it is compared; the others say where these stop, and give z its moments.
-- phi: log-odds of the sample's label.
-- copies_z: mean z of copies of the sample that are moved by one pixel.
-- neighbours_z: mean z of the nearest test samples of its class.
-- points_lost: of test accuracy, in percentage points, by what was done.
-- example: select algorithm, saw, avg(z) from internal.audit_phi where is_audited group by all
create view internal.audit_phi as
select
    run_id as audit_id, algorithm, sample_id, model, saw, is_audited, phi, z, z_limit, copies_z,
    neighbours_z, points_lost, steps::bigint as steps
from staging.audit_phi
