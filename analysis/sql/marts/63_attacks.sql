-- internal.attacks: one row per sweep and algorithm whose members were attacked by membership
-- inference: the mean balanced accuracy of the attack, and whether it is better than chance at all.
-- Where it is not, its verdicts on the members are chance, and so is their correlation with GT. An
-- attack takes, for each class, the threshold that separates the samples best on which its accuracy
-- is then measured, so the accuracy is above 0.5 even by chance. 2 accuracy - 1 is Smirnov's
-- one-sided distance between the distributions of members and others; the factor
-- mia_attack_strength, s, is this distance scaled by their sizes, and chance exceeds s with
-- probability exp(-2 s^2).
-- accuracy: the mean over the members, from 0 to 1.
-- p_value: of all classes together, combined by Fisher's method: the sum of 4 s^2 over the classes
-- has a chi-square distribution with two degrees of freedom a class, where s^2 is the mean over
-- the members of the class. NULL where s was not logged, as by older versions; then
-- better_than_chance is false.
-- better_than_chance: whether p_value is below 0.05.
-- example: select algorithm, accuracy, p_value from internal.attacks where not better_than_chance
create table internal.attacks as
with attacked as (
    select
        o.sweep_id, o.algorithm, o.label, count(*) as n,
        list_avg(list(a.value order by o.sample_id, o.run_id)) as accuracy,
        list_avg(list(s.value ** 2 order by o.sample_id, o.run_id)) as square
    from internal.outcomes as o
    join factors as a on a.run_id = o.run_id and a.factor = 'mia_attack_accuracy'
    left join factors as s on s.run_id = o.run_id and s.factor = 'mia_attack_strength'
    group by o.sweep_id, o.algorithm, o.label
)
select
    sweep_id, algorithm, count(*) as classes, sum(n)::bigint as n,
    list_sum(list(n * accuracy order by label)) / sum(n) as accuracy,
    case
        when count(square) = count(*)
            then chi_square_p_value(list_sum(list(4 * square order by label)), 2 * count(*))
    end as p_value,
    coalesce(p_value < 0.05, false) as better_than_chance
from attacked
group by sweep_id, algorithm
order by sweep_id, algorithm
