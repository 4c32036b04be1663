-- verdict(forgotten, z): whether a sample is forgotten, in a word: 'forgotten' where the factor is 1;
-- else 'over_forgotten' where z is below 0: the model is less sure of it than models that never saw
-- it, and 'remembered' where it is surer. NULL where z is not known.
create macro verdict(forgotten, z) as case
    when forgotten = 1 then 'forgotten'
    when forgotten = 0 then if(z < 0, 'over_forgotten', 'remembered')
end
