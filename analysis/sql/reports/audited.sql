-- z of the models that the latest audit of one sweep compared, a row an algorithm: of those that
-- forgot a sample, of those that never saw it, and of those that saw it and to which nothing was
-- done; and how well the likelihood ratio tells the first from the second.
with latest as (
    select run_id, metrics
    from logged('audit')
    where status = 'FINISHED' and params['sweep_id'] = $sweep
    order by start_time desc, run_id
    limit 1
),
compared as (
    select p.algorithm, p.saw, l.metrics, list(p.z order by p.sample_id, p.model) as z
    from internal.audit_phi as p
    join latest as l on l.run_id = p.audit_id
    where p.is_audited and isfinite(p.z)
    group by p.algorithm, p.saw, l.metrics
)
select
    f.algorithm, f.z as forgot, n.z as never_saw, u.z as untouched,
    f.metrics[f.algorithm || '/auc_ratio'] as auc_ratio,
    f.metrics[f.algorithm || '/auc_ratio_low'] as auc_ratio_low,
    f.metrics[f.algorithm || '/auc_ratio_high'] as auc_ratio_high
from compared as f
join compared as n on n.algorithm = 'untouched' and not n.saw
join compared as u on u.algorithm = 'untouched' and u.saw
where f.algorithm != 'untouched'
order by f.algorithm
