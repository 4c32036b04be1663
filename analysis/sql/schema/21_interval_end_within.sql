-- interval_end_within(rho, n, side): see interval_end, for -1 < rho < 1 and n > 3.
create macro interval_end_within(rho, n, side) as
    tanh(atanh(rho) + side * 1.959963984540054 * sqrt((1 + rho * rho / 2) / (n - 3)))
