-- place_among_lowest(k, value, group): 1 if a value is one of the k lowest of its group, else 0;
-- values that are tied across the border share the places that are left.
create macro place_among_lowest(k, value, grp) as
    greatest(0.0, least(1.0,
        (k + 1 - rank() over (partition by grp order by value))::double / peers(value, grp)
    ))
