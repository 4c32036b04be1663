-- How the attempts of one sweep ended, an algorithm each.
select
    algorithm,
    count(*) as members,
    count(*) filter (status = 'flipped') as flipped,
    count(*) filter (status = 'rewound') as rewound,
    count(*) filter (status = 'max_steps') as max_steps,
    count(*) filter (status = 'unchanged') as unchanged,
    count(*) filter (status = 'non_finite') as non_finite,
    count(*) filter (status = 'already_wrong') as already_wrong,
    avg(steps) as mean_steps,
    avg(gt) as mean_gt
from outcomes
where sweep_id = $sweep
group by algorithm
order by algorithm
