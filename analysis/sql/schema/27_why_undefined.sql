-- why_undefined(n, constant_factor, constant_target, target): why a factor has no rho with
-- the target over n pairs, in words; NULL where it has one.
create macro why_undefined(n, constant_factor, constant_target, target) as
    case
        when n is null then 'no values'
        when n < 2 then 'one value'
        when constant_factor then 'constant factor'
        when constant_target then 'constant ' || target
    end
