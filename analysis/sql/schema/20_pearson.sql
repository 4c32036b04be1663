-- pearson(x, y): an aggregate: Pearson's correlation of whole numbers, exact up to one rounding.
-- NULL where a side is constant or there are fewer than two pairs.
create macro pearson(x, y) as
    (count(*) * sum(x * y) - sum(x) * sum(y))::double
    / nullif(
        sqrt(
            (count(*) * sum(x * x) - sum(x) * sum(x))::double
            * (count(*) * sum(y * y) - sum(y) * sum(y))::double
        ),
        0
    )
