-- precision_of(logged): the precision of weights and inputs; float32 before it was logged.
create macro precision_of(logged) as coalesce(logged, 'float32')
