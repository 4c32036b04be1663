-- The three easiest and the three hardest samples by each factor for each algorithm of one sweep.
-- Which end of a factor is the hard one comes from the catalog. Of samples with the same value
-- those come first that are hardest (or easiest) by difficulty; tied: how many others have the
-- value.
with placed as (
    select
        o.algorithm, o.sample_id, o.label, o.run_id, v.factor, c.title, v.value,
        peers(v.value, (o.algorithm, v.factor)) - 1 as tied,
        row_number() over (
            partition by o.algorithm, v.factor
            order by case c.harder when 'high' then -v.value else v.value end, d.place, o.sample_id
        ) as hard_place,
        row_number() over (
            partition by o.algorithm, v.factor
            order by case c.harder when 'high' then v.value else -v.value end, -d.place, o.sample_id
        ) as easy_place
    from outcomes as o
    join difficulty as d on d.sweep_id = o.sweep_id and d.run_id = o.run_id
    join factors as v on v.run_id = o.run_id
    join factor_catalog as c on c.factor = v.factor
    where o.sweep_id = $sweep
)
select e.side, e.place, p.* exclude (hard_place, easy_place)
from placed as p,
    lateral (values ('easiest', easy_place), ('hardest', hard_place)) as e (side, place)
where e.place <= 3
order by factor, algorithm, side, place
