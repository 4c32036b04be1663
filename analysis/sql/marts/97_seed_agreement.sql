-- internal.seed_agreement: one row per sweep and algorithm: how far its order of the samples by GT
-- is known to be the same under another seed of unlearning.
-- seed_rho: the mean rho of GT between two repeats. Without repeats 1 for what draws no retain
-- batches, and so has no chance in it, else what was measured on digits; NULL where nothing was.
-- is_steady: whether seed_rho is at least 0.7.
-- is_counted: whether it counts in the order over all algorithms: it is steady, or none is.
-- example: select algorithm, repeats, seed_rho from internal.seed_agreement where not is_steady
create table internal.seed_agreement as
with digits as (
    from (values ('neggrad', 0.982), ('salun', 0.529), ('scrub', 0.137)) as d (algorithm, rho)
),
found as (
    select
        a.sweep_id, a.algorithm, max(c.repeats) as repeats,
        bool_or(a.settings['retain_batch'] is not null) as has_chance,
        coalesce(min(c.mean_rho), if(has_chance, any_value(d.rho), 1))::double as seed_rho,
        coalesce(seed_rho >= 0.7, false) as is_steady
    from attempts as a
    left join ceilings as c
        on c.sweep_id = a.sweep_id and c.algorithm = a.algorithm
            and c.varied = 'unlearning seed' and c.target = 'gt' and c.mean_rho is not null
    left join digits as d on d.algorithm = a.algorithm
    group by a.sweep_id, a.algorithm
)
select
    * exclude (has_chance),
    is_steady or not bool_or(is_steady) over (partition by sweep_id) as is_counted
from found
order by sweep_id, algorithm
