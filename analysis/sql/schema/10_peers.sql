-- peers(value, group): how many values of the group are equal to this one, itself among them.
create macro peers(value, grp) as
    count(*) over (partition by grp order by value range between current row and current row)
