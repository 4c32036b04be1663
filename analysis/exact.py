"""Exact p-values of Spearman's rho for few pairs, where those from the t distribution are wrong."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from analysis.statistics import LEAST_P, Counts, Floats, whole_ranks

MOST = 9  # pairs up to which all orders are counted: 9! = 362,880

Ranks = tuple[int, ...]


def exact_p_value(x: Floats, y: Floats) -> float | None:
    """Two-sided: the share of all orders of y whose |rho| is at least as large as the observed one.

    Ties keep their average ranks. Up to MOST pairs, and for |rho| = 1 whatever
    their number; None for more pairs, or where a side is constant.
    """
    (a, _), (b, _) = whole_ranks(x), whole_ranks(y)
    if len(a) < 2 or not (a.any() and b.any()):
        return None
    product = abs(int(a @ b))
    if len(a) > MOST:
        return _of_one(a) if product**2 == int(a @ a) * int(b @ b) else None
    orders = _orders(_sorted(a), _sorted(b))
    sizes = abs(np.arange(len(orders)) - len(orders) // 2)
    return float(orders[sizes >= product].sum() / orders.sum())


def _of_one(ranks: Counts) -> float:
    """The p-value of |rho| = 1: the share of orders that differ only within ties.

    Where the ranks are symmetric, the reversed orders count too: their |rho| is 1 as well.
    """
    _, tied = np.unique(ranks, return_counts=True)
    ways = sum(math.lgamma(count + 1) for count in tied.tolist())
    sides = 2 if _sorted(ranks) == _sorted(-ranks) else 1
    return max(LEAST_P, min(1.0, sides * math.exp(ways - math.lgamma(len(ranks) + 1))))


def _sorted(ranks: Counts) -> Ranks:
    return tuple(np.sort(ranks).tolist())


@lru_cache(maxsize=10_000)
def _orders(a: Ranks, b: Ranks) -> Counts:
    """How many orders of b have each sum of products with a, from -S to S for a large enough S.

    One rank of a after the other takes one of those of b that are left: a step for each set that
    may be left, of which ties make few, and not for each order.
    """
    if len(set(a)) < len(set(b)):
        a, b = b, a
    values, counts = np.unique(b, return_counts=True)
    # Of each value, how many are left in each set.
    left = np.indices(tuple((counts + 1).tolist())).reshape(len(counts), -1)
    fewer = [math.prod(counts[k + 1 :] + 1) for k in range(len(counts))]  # sets from one to another
    reach = math.isqrt(sum(rank**2 for rank in a) * sum(rank**2 for rank in b)) + 1
    ways = np.zeros((left.shape[1], 2 * reach + 1), dtype=np.int64)
    ways[-1, reach] = 1
    for taken, rank in enumerate(a):
        sets = left.sum(0) == len(b) - taken
        for k, value in enumerate(values.tolist()):
            from_ = np.flatnonzero(sets & (left[k] > 0))
            # No partial sum is beyond the reach, by Cauchy and Schwarz: none wraps around.
            moved = left[k, from_, None] * np.roll(ways[from_], rank * value, axis=1)
            ways[from_ - fewer[k]] += moved
    return np.asarray(ways[0])
