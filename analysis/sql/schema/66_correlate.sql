-- correlate(reading, fixed, population, sweep := null, target := 'gt'): one row per sweep,
-- algorithm and factor: Spearman's rho of the factor against the target, with ties at their average
-- rank and incomplete pairs left out. The arguments are those of correlation_pairs.
-- flipped: how many of the n pairs belong to members that flipped.
-- example: from correlate('one', null, 'flipped')
create macro correlate(reading, fixed, population, sweep := null, target := 'gt') as table
with asked as materialized (
    select
        s.sweep_id, s.dataset, s.algorithm, c.factor, c.title, c.phase, c.position,
        row_number() over (order by s.sweep_id, s.algorithm, c.position) as question,
        dense_rank() over (order by s.sweep_id, s.algorithm) as whose
    from (
        select distinct sweep_id, dataset, algorithm
        from internal.outcomes
        where sweep is null or sweep_id = sweep
    ) as s
    cross join (from factor_catalog where factor != target) as c
),
pairs as materialized (
    select a.question, a.whose, p.member, p.label, p.measured, p.value, p.margin, p.flipped
    from correlation_pairs(reading, fixed, population, sweep, target := target) as p
    join asked as a
        on a.sweep_id = p.sweep_id and a.algorithm = p.algorithm and a.factor = p.factor
),
-- Factors that all members have share the ranks of the target and the margin.
alike as materialized (
    select
        a.question,
        min(a.question) over (
            partition by case when a.n = b.n then -a.whose else a.question end
        ) as first
    from (select question, whose, count(*) as n from pairs group by all) as a
    join (select whose, count(distinct member) as n from pairs group by all) as b
        on b.whose = a.whose
),
placed as materialized (
    select
        question, member,
        twice_centred_rank(measured, question) as measured_rank,
        twice_centred_rank(margin, question) as margin_rank,
        twice_average_rank(measured, (question, label)) as rank_within
    from pairs
    where question in (select first from alike)
),
ranked as not materialized (
    select
        p.question, p.label, o.measured_rank, o.margin_rank, o.rank_within,
        twice_centred_rank(p.value, p.question) as value_rank,
        twice_average_rank(p.value, (p.question, p.label)) as value_rank_within,
        peers(p.value, p.question) as value_peers,
        p.margin is not null as is_triple,
        p.flipped
    from pairs as p
    join alike as s on s.question = p.question
    join placed as o on o.question = s.first and o.member = p.member
),
found as materialized (
    select
        question,
        pearson(value_rank, measured_rank) as rho,
        count(*) as n,
        count(*) filter (flipped) as flipped,
        count(*) filter (value_peers > 1) as ties,
        min(value_rank) = max(value_rank) as constant_factor,
        min(measured_rank) = max(measured_rank) as constant_target,
        partial_pearson(value_rank, measured_rank, margin_rank) as partial_rho,
        count(*) filter (is_triple) as triples
    from ranked
    group by question
),
-- Where some pairs have no margin, the others have ranks of their own.
triples as (
    select
        p.question,
        twice_centred_rank(p.measured, p.question) as measured_rank,
        twice_centred_rank(p.value, p.question) as value_rank,
        twice_centred_rank(p.margin, p.question) as margin_rank
    from pairs as p
    join found as f on f.question = p.question and f.triples < f.n
    where p.margin is not null
),
given as (
    select question, partial_pearson(value_rank, measured_rank, margin_rank) as partial_rho
    from triples
    group by question
),
class as (
    select question, label, pearson(value_rank_within, rank_within) as rho, count(*) as n
    from ranked
    group by question, label
    having n >= 4 and rho is not null
),
within as (
    select
        question, list_sum(list(n * rho order by label)) / sum(n) as within_class_rho,
        sum(n)::bigint as within_class_n
    from class
    group by question
)
select
    a.sweep_id, a.dataset, a.algorithm, a.factor, a.title, a.phase, target as target, f.rho,
    coalesce(f.n, 0) as n, coalesce(f.flipped, 0) as flipped, coalesce(f.ties, 0) as ties,
    case when f.triples = f.n then f.partial_rho else g.partial_rho end as partial_rho,
    coalesce(f.triples, 0) as partial_n,
    w.within_class_rho, coalesce(w.within_class_n, 0) as within_class_n,
    why_undefined(f.n, f.constant_factor, f.constant_target, target) as undefined,
    a.position
from asked as a
left join found as f on f.question = a.question
left join given as g on g.question = a.question
left join within as w on w.question = a.question
