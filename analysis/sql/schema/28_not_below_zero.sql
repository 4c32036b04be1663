-- not_below_zero(x): x, or 0 where it is below; NULL stays NULL.
create macro not_below_zero(x) as if(x < 0, 0, x)
