"""The analysis' statistics: slow, obvious, with scipy and statsmodels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
import scipy.stats
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

Maybe = float | None
Ends = tuple[float, float]


def spearman(x: Sequence[float], y: Sequence[float]) -> Maybe:
    """scipy's rho of the ranks, which takes infinities too; None if a side is constant."""
    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(scipy.stats.spearmanr(scipy.stats.rankdata(x), scipy.stats.rankdata(y)).statistic)


def tied(values: Sequence[float]) -> int:
    """How many values have an equal among the others."""
    return sum(1 for value in values if list(values).count(value) > 1)


def partial_spearman(x: Sequence[float], y: Sequence[float], z: Sequence[float]) -> Maybe:
    """(r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)) of the ranks, in exact fractions."""
    a, b, c = ([Fraction(rank) for rank in scipy.stats.rankdata(side)] for side in (x, y, z))
    xx, yy, zz = (_covariance(side, side) for side in (a, b, c))
    xy, xz, yz = _covariance(a, b), _covariance(a, c), _covariance(b, c)
    left, right = xx * zz - xz * xz, yy * zz - yz * yz
    if left == 0 or right == 0:
        return None
    numerator = xy * zz - xz * yz
    squared = numerator * numerator / (left * right)
    return math.copysign(math.sqrt(squared), numerator)


def _covariance(x: Sequence[Fraction], y: Sequence[Fraction]) -> Fraction:
    mean_x, mean_y = sum(x) / Fraction(len(x)), sum(y) / Fraction(len(y))
    return sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)), Fraction(0))


def residual_spearman(x: Sequence[float], y: Sequence[float], z: Sequence[float]) -> float:
    """The same as the correlation of what a regression on the ranks of z leaves of the others."""
    ranks = {name: scipy.stats.rankdata(v) for name, v in (("x", x), ("y", y), ("z", z))}
    frame = pd.DataFrame(ranks)
    left, right = smf.ols("x ~ z", frame).fit().resid, smf.ols("y ~ z", frame).fit().resid
    return float(np.corrcoef(left, right)[0, 1])


def within_class_spearman(
    x: Sequence[float], y: Sequence[float], labels: Sequence[int]
) -> tuple[Maybe, int]:
    """Mean of the classes' rho, weighted by size; and the sizes' sum."""
    weighted, total = 0.0, 0
    for label in sorted(set(labels)):
        chosen = [k for k, found in enumerate(labels) if found == label]
        rho = spearman([x[k] for k in chosen], [y[k] for k in chosen])
        if len(chosen) >= 4 and rho is not None:
            weighted, total = weighted + len(chosen) * rho, total + len(chosen)
    return (weighted / total if total else None), total


def exact_p(x: Sequence[float], y: Sequence[float]) -> float:
    """The share of all orders of y with as large a |rho|, one after the other."""
    a, b = (2 * scipy.stats.rankdata(side) - len(x) - 1 for side in (x, y))
    orders = np.array(list(itertools.permutations(b)))
    return float(np.mean(abs(orders @ a) >= abs(a @ b)))  # whole numbers, so exact


def p_value(x: Sequence[float], y: Sequence[float]) -> float:
    """Exact up to nine pairs, scipy's of t for more."""
    if len(x) <= 9:
        return exact_p(x, y)
    return float(scipy.stats.spearmanr(scipy.stats.rankdata(x), scipy.stats.rankdata(y)).pvalue)


def weighted_spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    """rho where each pair is there so many times, which need not be a whole number."""
    sides = []
    for side in (x, y):
        ranks = np.array(
            [weights[side < v].sum() + weights[side == v].sum() / 2 for v in side.tolist()]
        )
        sides.append(ranks - np.average(ranks, weights=weights))
    a, b = sides
    return float(
        (weights * a * b).sum() / math.sqrt((weights * a**2).sum() * (weights * b**2).sum())
    )


def jackknife(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> Ends:
    """95% by the infinitesimal jackknife: each pair a little more and a little less there."""
    a, b, n, little = np.asarray(x), np.asarray(y), len(x), 1e-5
    steps = little * np.eye(n)
    parts = np.array(
        [weighted_spearman(a, b, 1 + s) - weighted_spearman(a, b, 1 - s) for s in steps]
    ) / (2 * little)
    rho = weighted_spearman(a, b, np.ones(n))
    kurtosis = scipy.stats.kurtosis(parts, fisher=False)
    freedom = float(np.clip(2 * n / (kurtosis - 1) - 2, 1, n - 3)) if kurtosis > 1 else n - 3
    error = math.sqrt((parts**2).sum() * n / (n - 3)) / (1 - rho**2)
    reach = scipy.stats.t.ppf(0.975, freedom) * error
    return math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach)


def interval(rho: float, n: int) -> tuple[float, float] | None:
    """95% by Bonett and Wright 2000; at the ends open to the next value without ties."""
    if n < 4:
        return None
    if abs(rho) == 1:
        inner = interval(rho * (1 - 6 * 2 / (n**3 - n)), n)
        assert inner is not None
        return (inner[0], 1.0) if rho > 0 else (-1.0, inner[1])
    error = math.sqrt((1 + rho**2 / 2) / (n - 3))
    z = 0.5 * math.log((1 + rho) / (1 - rho))
    reach = scipy.stats.norm.ppf(0.975) * error
    return math.tanh(z - reach), math.tanh(z + reach)


def corrected(p_values: Sequence[float], method: str) -> list[float]:
    """By `holm` or `fdr_bh`."""
    return [float(p) for p in multipletests(p_values, method=method)[1]]


def kendalls_w(table: Sequence[Sequence[float]]) -> Maybe:
    """W with its correction for ties; a row a judge, a column a thing that is judged."""
    judges, things = len(table), len(table[0])
    ranks = [scipy.stats.rankdata(row) for row in table]
    sums = [sum(row[k] for row in ranks) for k in range(things)]
    mean = sum(sums) / things
    s = sum((total - mean) ** 2 for total in sums)
    ties = 0
    for row in ranks:
        for rank in set(row.tolist()):
            t = row.tolist().count(rank)
            ties += t**3 - t
    below = judges**2 * (things**3 - things) - judges * ties
    return None if below == 0 else 12 * s / below


def mean_pairwise(table: Sequence[Sequence[float]]) -> Maybe:
    """Mean Spearman over all pairs of rows; None if one is undefined."""
    found = [spearman(a, b) for a, b in itertools.combinations(table, 2)]
    return None if None in found else float(np.mean([rho for rho in found if rho is not None]))


def split_half(table: Sequence[Sequence[float]]) -> Maybe:
    """Mean ranks of the odd against those of the even rows, stepped up by Spearman and Brown."""
    ranks = np.array([scipy.stats.rankdata(row) for row in table])
    odd, even = ranks[0::2].mean(0), ranks[1::2].mean(0)
    if np.ptp(odd) == 0 or np.ptp(even) == 0:
        return None
    r = np.corrcoef(odd, even)[0, 1]
    return float(2 * r / (1 + r)) if r > -1 else None


def icc(table: Sequence[Sequence[float]]) -> float:
    """ICC(2,1) from statsmodels' two-way analysis of variance."""
    values = np.asarray(table, dtype=float)
    k, n = values.shape
    frame = pd.DataFrame(
        {
            "gt": values.ravel(),
            "repeat": np.repeat(np.arange(k), n),
            "sample": np.tile(np.arange(n), k),
        }
    )
    found = anova_lm(smf.ols("gt ~ C(sample) + C(repeat)", frame).fit())
    squares = found["sum_sq"] / found["df"]
    msr, msc, mse = squares["C(sample)"], squares["C(repeat)"], squares["Residual"]
    return float((msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n))


def bootstrap(x: np.ndarray, y: np.ndarray, drawn: np.ndarray) -> list[float]:
    """rho of each resample, the pairs written out in the order in which they were drawn."""
    found = (spearman(x[row].tolist(), y[row].tolist()) for row in drawn)
    return [rho for rho in found if rho is not None]
