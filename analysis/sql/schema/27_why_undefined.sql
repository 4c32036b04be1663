-- why_undefined(n, constant_factor, constant_gt): why a factor has no rho with GT over n pairs, in
-- words; NULL where it has one.
create macro why_undefined(n, constant_factor, constant_gt) as
    case
        when n is null then 'no values'
        when n < 2 then 'one value'
        when constant_factor then 'constant factor'
        when constant_gt then 'constant gt'
    end
