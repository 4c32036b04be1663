"""How good a prediction is: rank correlation against its ceiling, hits, Brier score, coverage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from tracker.studies.calibration import interval, reach

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

LEVEL = 0.95  # of bootstrap intervals


@dataclass(frozen=True)
class Interval:
    """A figure and its 95% interval, by bootstrap over the samples."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return ""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Grade:
    """How far a prediction goes with the mean of a target over R seeds.

    Attributes:
        rho: Spearman's. reliability: of the mean over the seeds, 1 of an algorithm without chance.
        ceiling: its root, the most to expect of rho. of_ceiling: rho by it.
    """

    rho: Interval
    reliability: Interval
    ceiling: Interval
    of_ceiling: Interval


def grade(predicted: Floats, measured: Floats, resamples: int, seed: int = 0) -> Grade:
    """Grade (n,) against (R, n). In each resample rho and ceiling are of the same samples."""
    known = np.isfinite(predicted)
    predicted, measured = predicted[known], measured[:, known]
    n = measured.shape[1]
    random = np.random.default_rng(seed)
    drawn: list[Places] = [np.arange(n)]
    drawn += [*random.integers(n, size=(resamples, n))]
    rho = np.array([spearman(predicted[at], measured[:, at].mean(axis=0)) for at in drawn])
    reliability = np.array([reliability_of(measured[:, at]) for at in drawn])
    ceiling = np.sqrt(np.clip(reliability, 0, None))
    with np.errstate(divide="ignore", invalid="ignore"):
        of_ceiling = rho / ceiling
    return Grade(*(_interval(values) for values in (rho, reliability, ceiling, of_ceiling)))


def _interval(values: Floats) -> Interval:
    """The first value, and what lies around the rest."""
    rest = values[1:][np.isfinite(values[1:])]
    if not len(rest):
        return Interval(float(values[0]), math.nan, math.nan)
    low, high = np.quantile(rest, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values[0]), float(low), float(high))


def spearman(a: Floats, b: Floats) -> float:
    """Spearman's rho of (n,) and (n,) with average ranks; NaN where a side is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def reliability_of(measured: Floats) -> float:
    """The reliability of the mean of R repeats, (R, n), by Spearman and Brown.

    From the mean of rho over all pairs of repeats; 1 for a single one, which has no chance in it.
    """
    repeats = len(measured)
    if repeats == 1:
        return 1.0
    ranks = rankdata(measured, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = (np.corrcoef(ranks).sum() - repeats) / (repeats * (repeats - 1))
    return float(repeats * rho / (1 + (repeats - 1) * rho))


def hits(predicted: Floats, measured: Floats, part: float) -> float:
    """The share of the hardest, with the lowest measured GT, among those predicted to be."""
    count = max(1, round(part * len(measured)))
    sets = [
        {*np.argsort(values, kind="stable")[:count].tolist()} for values in (predicted, measured)
    ]
    return len(sets[0] & sets[1]) / count


def brier(predicted: Floats, flips: Floats) -> tuple[float, float]:
    """The Brier score of predicted flips (n,) over all attempts (R, n), and that of their rate."""
    known = np.isfinite(predicted)
    flips = flips[:, known]
    score = np.mean((predicted[known] - flips) ** 2)
    return float(score), float(np.mean((flips.mean() - flips) ** 2))


def ratio(predicted: Floats, measured: Floats) -> tuple[float, float, float]:
    """Predicted by measured: the median, and where the tenth and the ninetieth of 100 lie."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = predicted / measured
    found = found[np.isfinite(found)]
    median, low, high = np.quantile(found, [0.5, 0.1, 0.9])
    return float(median), float(low), float(high)


def coverage(
    predicted: Floats, measured: Floats, quantity: str, budget: int, splits: int, seed: int = 0
) -> float:
    """How often an interval of 90% holds an attempt, the mean over random splits of the samples.

    The intervals are those of `indelible predict`, whose residuals are of one half of the samples,
    under one seed of unlearning that is drawn for the split; they are tried on the other half.

    Args:
        predicted, measured: (n,) and (R, n). quantity: what they are, as the intervals name it.
        budget: steps that an attempt may take.
    """
    random, held = np.random.default_rng(seed), []
    known = np.isfinite(predicted) & np.isfinite(measured).all(axis=0)
    predicted, measured = predicted[known], measured[:, known]
    for _ in range(splits):
        order, of_seed = random.permutation(len(predicted)), random.integers(len(measured))
        rest, new = np.array_split(order, 2)
        half = reach(predicted[rest], measured[of_seed, rest], quantity)
        low, high = interval(predicted[new], half, quantity, budget)
        held.append(np.mean((low <= measured[of_seed, new]) & (measured[of_seed, new] <= high)))
    return float(np.mean(held))
