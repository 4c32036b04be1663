-- attacks: one row per sweep and algorithm after which a membership attack was made: its mean
-- balanced accuracy over the members, and whether it is better than chance at all. Where it is not,
-- what it says of a member is chance too, and so is its correlation with GT.
-- The attack of each class has the best of all thresholds for the very samples that it is judged
-- by, so that by chance its accuracy is above 0.5 and no coin: 2 accuracy - 1 is the largest
-- distance of the distribution of members above that of the others, as of Smirnov, and the factor
-- mia_attack_strength, s, is that by the sizes of both: chance exceeds it with exp(-2 s^2).
-- p_value: of all classes together, by Fisher: the sum of 4 s^2 has chi-square with two degrees of
-- freedom a class, s^2 being the mean over the class' members. NULL for members of a version that
-- did not log s; what is not known to be better than chance is not taken for better.
-- example: select algorithm, accuracy, p_value from attacks where not better_than_chance
create table attacks as
with attacked as (
    select
        o.sweep_id, o.algorithm, o.label, count(*) as n,
        list_avg(list(a.value order by o.sample_id, o.run_id)) as accuracy,
        list_avg(list(s.value ** 2 order by o.sample_id, o.run_id)) as square
    from outcomes as o
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
