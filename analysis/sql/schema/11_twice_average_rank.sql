-- twice_average_rank(value, group): twice the average rank of a value in its group, from 1.
-- Ties get the mean of the ranks they span; doubled, it is a whole number and sums stay exact.
create macro twice_average_rank(value, grp) as
    2 * rank() over (partition by grp order by value) + peers(value, grp) - 1
