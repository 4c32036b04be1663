-- partial_pearson(x, y, z): an aggregate: the correlation of x and y given z, for whole numbers
-- that add up to zero each; exact up to three roundings.
-- NULL where x or y is constant or follows from z.
create macro partial_pearson(x, y, z) as
    (sum(x * y) * sum(z * z) - sum(x * z) * sum(y * z))::double
    / nullif(
        sqrt(
            (sum(x * x) * sum(z * z) - sum(x * z) * sum(x * z))::double
            * (sum(y * y) * sum(z * z) - sum(y * z) * sum(y * z))::double
        ),
        0
    )
