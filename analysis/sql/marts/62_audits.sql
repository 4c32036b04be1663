-- audits: one row per audit, algorithm and sample: how far models that forgot the sample can be
-- told from models that never saw it ('indelible audit'). Two algorithms are controls: to
-- 'untouched' nothing was done, and 'never_saw' never saw the sample either.
-- audit: the name of its run.
-- audited_id: the run id of the row, a child run of the audit.
-- models_saw: how many models that forgot the sample are compared.
-- models_never_saw: with how many that never saw it.
-- auc_ratio: the chance that the likelihood ratio ranks one that forgot above one that never saw
-- it, both left out of the fits; .5 tells nothing apart.
-- auc_z: that its log-odds are higher; below .5 those that forgot are less sure of the sample.
-- auc_copies_z: the same of copies of the sample moved by one pixel; NULL for tables.
-- auc_neighbours_z: the same of the nearest test samples of its class.
-- tpr_at_1: the share of models that forgot which the likelihood ratio finds at 1% of false alarms.
-- tpr_at_5: at 5%.
-- epsilon: of the NeurIPS 2023 challenge; 50 where a rule tells all apart, by chance if there are
-- few models.
-- epsilon_cap: the most that so few models show otherwise, with one of each kind mistaken: for n
-- of each the log of n - 1.
-- klom: KL divergence of the histograms of log-odds, in nats; that of never_saw is its floor.
-- p: probability that a random split of the models is as far apart, by energy distance.
-- example: select algorithm, avg(auc_ratio), avg(klom) from audits group by all
create table audits as
select
    a.run_id as audit_id, a.name as audit, a.params['sweep_id'] as sweep_id,
    a.params['base_run_id'] as base_run_id, a.params['until'] as until, c.run_id as audited_id,
    c.params['algorithm'] as algorithm, try_cast(c.tags['sample_id'] as bigint) as sample_id,
    c.metrics['models_saw']::bigint as models_saw,
    c.metrics['models_never_saw']::bigint as models_never_saw,
    c.metrics['auc_ratio'] as auc_ratio, c.metrics['auc_z'] as auc_z,
    c.metrics['auc_copies_z'] as auc_copies_z, c.metrics['auc_neighbours_z'] as auc_neighbours_z,
    c.metrics['tpr_at_1'] as tpr_at_1, c.metrics['tpr_at_5'] as tpr_at_5,
    c.metrics['epsilon'] as epsilon, c.metrics['epsilon_cap'] as epsilon_cap,
    c.metrics['klom'] as klom, c.metrics['p'] as p
from logged('audited') as c
join logged('audit') as a on a.run_id = c.tags['mlflow.parentRunId']
where a.status = 'FINISHED'
order by audit_id, algorithm, sample_id
