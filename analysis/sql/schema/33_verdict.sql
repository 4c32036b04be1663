-- verdict(forgotten, z): whether a sample is forgotten, in a word: 'forgotten' where the factor of
-- that name is 1; else 'over_forgotten' where z is below 0, so that the model is less sure of the
-- sample than models that never saw it, and 'remembered' where it is surer. NULL where z is.
create macro verdict(forgotten, z) as case
    when forgotten = 1 then 'forgotten'
    when forgotten = 0 then if(z < 0, 'over_forgotten', 'remembered')
end
