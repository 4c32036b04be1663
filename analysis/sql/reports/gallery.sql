-- The three easiest and the three hardest samples by each factor for each algorithm of one sweep.
-- Which end of a factor is the hard one comes from the catalog. Of samples with the same value
-- those come first that are hardest (or easiest) by difficulty; tied: how many others have the
-- value.
with valued as (
    select
        o.algorithm, o.sample_id, o.label, o.run_id, v.factor, c.title, v.value, d.place,
        case c.harder when 'high' then -v.value else v.value end as from_hardest
    from internal.outcomes as o
    join internal.difficulty as d on d.sweep_id = o.sweep_id and d.run_id = o.run_id
    join factors as v on v.run_id = o.run_id
    join factor_catalog as c on c.factor = v.factor
    where o.sweep_id = $sweep
),
ends as (
    select
        algorithm, factor,
        min_by(run_id, (from_hardest, place, sample_id), 3) as hardest,
        min_by(run_id, (-from_hardest, -place, sample_id), 3) as easiest
    from valued
    group by algorithm, factor
),
placed as (
    select
        algorithm, factor, e.side, unnest(e.run_ids) as run_id,
        generate_subscripts(e.run_ids, 1) as place
    from ends,
        lateral (values ('easiest', easiest), ('hardest', hardest)) as e (side, run_ids)
)
select
    p.side, p.place, v.algorithm, v.sample_id, v.label, v.run_id, v.factor, v.title, v.value,
    (
        select count(*) - 1
        from valued as t
        where t.algorithm = v.algorithm and t.factor = v.factor and t.value = v.value
    ) as tied
from placed as p
join valued as v on v.run_id = p.run_id and v.factor = p.factor
order by p.factor, p.algorithm, p.side, p.place
