-- internal.factor_costs: one row per base model and thing that was asked of it about samples: what
-- it took, in seconds of one thread for one sample. Clocks differ from machine to machine, and with
-- what else it does: compare within a base model.
-- kind: factors: those of a family that is known before unlearning, or index: the forecast of what
-- an algorithm will come to.
-- name: of the family or the algorithm.
-- mean_s: seconds, with what is computed once for all samples.
-- seconds: without that, as far as can be told: the lower quartile over samples, since those that
-- were measured first waited for it, and every sample of a block has the same share of its time.
-- attempt_s: the mean seconds of the steps of an attempt with ga from the base model, without the
-- evaluation after it; NULL where there is no such attempt.
-- of_attempt: seconds / attempt_s.
-- example: select name, seconds, of_attempt from internal.factor_costs where kind = 'factors'
create table internal.factor_costs as
with latest as (
    select
        c.run_id, split_part(c.asked, '/', 1) as phase, split_part(c.asked, '/', 2) as name,
        c.sample_id, arg_max(c.seconds, c.at) as took
    from staging.costs as c
    group by c.run_id, phase, name, c.sample_id
),
attempt as (
    select a.base_run_id, list_avg(list(v.value order by a.run_id)) as attempt_s
    from attempts as a
    join factors as v on v.run_id = a.run_id and v.factor = 'elapsed_s'
    where a.algorithm = 'ga' and v.value > 0
    group by a.base_run_id
)
select
    c.run_id as base_run_id, if(c.phase = 'index', 'index', 'factors') as kind, c.name,
    count(*) as n, list_avg(list(c.took order by c.sample_id)) as mean_s,
    quantile_disc(c.took, 0.25) as seconds, any_value(t.attempt_s) as attempt_s,
    quantile_disc(c.took, 0.25) / any_value(t.attempt_s) as of_attempt
from latest as c
join base_models as b on b.base_run_id = c.run_id
left join attempt as t on t.base_run_id = c.run_id
group by c.run_id, c.phase, c.name
order by base_run_id, kind, of_attempt, mean_s, c.name
