"""Statistics for which DuckDB has no function."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, stdtr, stdtrit

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

BLOCK = 2**19  # draws that are in memory at once
LEAST_P = sys.float_info.min  # a p-value is never 0


def spearman_p_value(rho: float, n: int) -> float:
    """Two-sided p-value of Spearman's rho from the t distribution with n - 2 degrees of freedom.

    t = rho sqrt((n - 2) / (1 - rho^2)), as in the published Table 1. Defined for n > 2.
    Never 0: for |rho| = 1 the exact one where nothing is tied, 2 / n!. Of few pairs it is far off:
    see `exact_p_value`.
    """
    if abs(rho) == 1:
        return max(LEAST_P, min(1.0, 2 * math.exp(-math.lgamma(n + 1))))
    t = rho * math.sqrt((n - 2) / ((1 - rho) * (1 + rho)))
    return max(LEAST_P, float(2 * stdtr(n - 2, -abs(t))))


def chi_square_p_value(statistic: float, freedom: int) -> float:
    """The probability of a larger value of chi-square with that many degrees of freedom."""
    return float(chdtrc(freedom, statistic))


def t_quantile(share: float, freedom: int) -> float:
    """The quantile of the t distribution with that many degrees of freedom, for a probability."""
    return float(stdtrit(freedom, share))


def bootstrap_interval(
    x: Sequence[float], y: Sequence[float], resamples: int, seed: int, level: float = 0.95
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of Spearman's rho (Efron & Tibshirani 1993, chapter 13).

    Pairs are drawn with replacement; a resample without an order is left out. None if there are
    fewer than two pairs or no resample has an order. The same seed gives the same draws for every
    factor that has as many pairs.
    """
    if len(x) < 2:
        return None
    drawn = draws(len(x), resamples, seed)
    rho = np.concatenate([_weighted_spearman(x, y, counts) for counts in drawn])
    rho = rho[~np.isnan(rho)]
    if not len(rho):
        return None
    low, high = np.quantile(rho, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def draws(n: int, resamples: int, seed: int, most: int | None = None) -> Iterator[Counts]:
    """How often each of n things is drawn in each resample, (resamples, n), in parts.

    Args:
        most: draws in a part, BLOCK unless given; the parts change nothing of what is drawn.
    """
    random, block = np.random.default_rng(seed), max(1, (most or BLOCK) // n)
    for start in range(0, resamples, block):
        rows = np.arange(min(block, resamples - start))[:, None]
        drawn = random.integers(n, size=(len(rows), n)) + n * rows
        yield np.bincount(drawn.ravel(), minlength=n * len(rows)).reshape(-1, n)


def _weighted_spearman(x: Sequence[float], y: Sequence[float], counts: Counts) -> Floats:
    """Spearman's rho for each row of counts, which say how often each pair was drawn; NaN if a
    side is constant."""
    a, b = centred_ranks(x, counts), centred_ranks(y, counts)
    spread = np.sqrt((counts * a * a).sum(1) * (counts * b * b).sum(1))
    with np.errstate(invalid="ignore"):
        return np.asarray((counts * a * b).sum(1) / spread)


def whole_ranks(values: Floats) -> tuple[Counts, Counts]:
    """Twice the average rank of each value less the mean, whole numbers that add up to zero; and
    its place among the different values, from 0."""
    _, place, tied = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (2 * np.cumsum(tied) - tied - len(values))[place]
    return np.asarray(ranks, dtype=np.int64), np.asarray(place)


def centred_ranks(values: Sequence[float], counts: Counts) -> Floats:
    """Average ranks less their mean, (resamples, n), of n values drawn so many times each."""
    _, group = np.unique(np.asarray(values), return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    drawn = np.add.reduceat(counts[:, order], starts, axis=1)
    ranks = np.cumsum(drawn, axis=1) - (drawn - 1) / 2
    return np.asarray((ranks - (counts.sum(1, keepdims=True) + 1) / 2)[:, group])
