"""Exact p-values of Spearman's rho, for the few pairs with which t's are far off."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from indelible.analysis.statistics import LEAST_P, Counts, Floats, whole_ranks

MOST = 9  # pairs up to which all orders are counted: 9! = 362,880

Ranks = tuple[int, ...]


def exact_p_value(x: Floats, y: Floats) -> float | None:
    """Two-sided: the share of all orders of y whose |rho| is as large as the one that is there.

    The ranks are those of the values, ties and all. Up to MOST pairs, and for |rho| = 1 whatever
    their number; None for more pairs, or where a side is constant.
    """
    a, b = whole_ranks(x), whole_ranks(y)
    if len(a) < 2 or not (a.any() and b.any()):
        return None
    product = abs(int(a @ b))
    if len(a) > MOST:
        return _of_one(a) if product**2 == int(a @ a) * int(b @ b) else None
    orders = _orders(_sorted(a), _sorted(b))
    sizes = abs(np.arange(len(orders)) - len(orders) // 2)
    return float(orders[sizes >= product].sum() / orders.sum())


def _of_one(ranks: Counts) -> float:
    """The p-value of |rho| = 1: only the members of a tie may change places; the other way round
    is as large where it can be reached."""
    _, tied = np.unique(ranks, return_counts=True)
    ways = sum(math.lgamma(count + 1) for count in tied.tolist())
    sides = 2 if _sorted(ranks) == _sorted(-ranks) else 1
    return max(LEAST_P, min(1.0, sides * math.exp(ways - math.lgamma(len(ranks) + 1))))


def _sorted(ranks: Counts) -> Ranks:
    return tuple(np.sort(ranks).tolist())


@lru_cache(maxsize=10_000)
def _orders(a: Ranks, b: Ranks) -> Counts:
    """How many orders of b have the sum of products -S, ..., S with a, for a large enough S.

    One rank of a after the other takes one of those of b that are left: a step a set of these, of
    which ties make few, and not a step an order.
    """
    if len(set(a)) < len(set(b)):
        a, b = b, a
    values, counts = np.unique(b, return_counts=True)
    reach = math.isqrt(sum(rank**2 for rank in a) * sum(rank**2 for rank in b)) + 1
    start = np.zeros(2 * reach + 1, dtype=np.int64)
    start[reach] = 1
    left = {tuple(counts.tolist()): start}
    for rank in a:
        fewer: dict[Ranks, Counts] = {}
        for state, ways in left.items():
            for k, count in enumerate(state):
                if count:
                    taken = (*state[:k], count - 1, *state[k + 1 :])
                    # No partial sum is beyond the reach, by Cauchy and Schwarz: none wraps around.
                    moved = count * np.roll(ways, rank * int(values[k]))
                    fewer[taken] = fewer[taken] + moved if taken in fewer else moved
        left = fewer
    (orders,) = left.values()
    return orders
