-- twice_centred_rank(value, group): twice the average rank less the mean rank of the group: whole
-- numbers that add up to zero.
create macro twice_centred_rank(value, grp) as
    twice_average_rank(value, grp) - 1 - count(*) over (
        partition by grp order by value range between unbounded preceding and unbounded following
    )
