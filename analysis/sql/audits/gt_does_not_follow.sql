-- An outcome whose logged GT is not half the harmonic mean of its U and F.
select distinct
    o.run_id, o.algorithm || ' ' || o.sample_id as name,
    'gt is ' || f.value || ', but follows as ' || o.gt as problem, 'none' as repair
from internal.outcomes as o
join factors as f on f.run_id = o.run_id and f.factor = 'gt'
where o.gt is null or abs(f.value - o.gt) > 1e-12
