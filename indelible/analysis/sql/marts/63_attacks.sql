-- attacks: one row per sweep and algorithm after which a membership attack was made: its mean
-- balanced accuracy over the members, and whether it is better than chance at all. Where it is not,
-- what it says of a member is chance too, and so is its correlation with GT.
-- The attack of each class has the best of all thresholds for the very samples that it is judged
-- by, so that by chance its accuracy is above 0.5 and no coin: 2 accuracy - 1 is the largest
-- distance D of the distribution of members above that of the others, as of Smirnov, and exceeds d
-- by chance with exp(-2 d^2 M N / (M + N)). p_value: of all classes together, by Fisher: the sum of
-- 4 D^2 M N / (M + N) has chi-square with two degrees of freedom a class.
-- compared: M N / (M + N) of one class, with M members and N others: the splits of the base model
-- are taken for even over its classes, which are those of its sweeps where it did not log how many.
-- example: select algorithm, accuracy, p_value from attacks where not better_than_chance
create table attacks as
with attacked as (
    select
        o.sweep_id, o.algorithm, o.label, count(*) as n,
        list_avg(list(v.value order by o.sample_id, o.run_id)) as accuracy
    from outcomes as o
    join factors as v on v.run_id = o.run_id and v.factor = 'mia_attack_accuracy'
    group by o.sweep_id, o.algorithm, o.label
),
known as (
    select s.base_run_id, count(distinct o.label) as labels
    from outcomes as o
    join sweeps as s on s.sweep_id = o.sweep_id
    group by s.base_run_id
),
sized as (
    select
        a.*,
        b.train_samples * b.test_samples / (b.train_samples + b.test_samples)
        / coalesce(b.classes, k.labels) as compared
    from attacked as a
    join sweeps as s on s.sweep_id = a.sweep_id
    join base_models as b on b.base_run_id = s.base_run_id
    join known as k on k.base_run_id = s.base_run_id
)
select
    sweep_id, algorithm, count(*) as classes, sum(n)::bigint as n,
    list_sum(list(n * accuracy order by label)) / sum(n) as accuracy,
    any_value(compared) as compared,
    chi_square_p_value(
        list_sum(list(4 * compared * (2 * accuracy - 1) ** 2 order by label)), 2 * count(*)
    ) as p_value,
    p_value < 0.05 as better_than_chance
from sized
group by sweep_id, algorithm
order by sweep_id, algorithm
