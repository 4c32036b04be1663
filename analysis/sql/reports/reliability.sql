-- How far GT agrees with itself over repeats, for all designs that were repeated.
select * exclude (design)
from internal.reliability
where target = 'gt'
