"""Can models that forgot a sample be told from models that never saw it? Attacks on one number.

The number is phi of the sample, log p - log(1 - p) for its label, one of each model. `u` is phi of
models that saw the sample and were made to forget it, `o` of models that never saw it: finite, and
one-dimensional where nothing else is said. An attack's score may stand in the place of phi.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from analysis.chance import permutations
from analysis.statistics import LEVEL, RESAMPLES, SEED, Counts, Floats

LEAST_SD = 1e-3  # of phi; models that all stand on one spot have none
CAP = 50.0  # epsilon where the two kinds are told apart without a mistake
PEAKY = 0.01  # ratio of ranges below which one kind stands on one spot
REACH = 2.0  # in phi, around the extremes of the narrower kind
FINENESS = 100  # thresholds for each unit of phi
EMPTY = 1e-5  # least probability under o of a bin in which u has models
ROUNDING = 1e-12  # of an energy, by which those may be smaller that are the same

# How well scores tell two kinds apart


def tpr_at(positive: Floats, negative: Floats, fpr: float) -> float:
    """Largest share of positives at or above a threshold that at most `fpr` of negatives reach.

    Thresholds are all scores, and one above all. NaN where a side is empty.
    """
    n, m = len(positive), len(negative)
    if not n or not m:
        return math.nan
    thresholds = np.append(np.concatenate([positive, negative]), np.inf)
    true, false = (n - _below(positive, thresholds)) / n, (m - _below(negative, thresholds)) / m
    return float(true[false <= fpr].max())


def likelihood_ratio(u: Floats, o: Floats) -> tuple[Floats, Floats]:
    """U-LiRA's scores of both kinds, high where a model looks as if it had seen the sample.

    The logarithm of the ratio of two normal densities, one fitted to each kind (Hayes et al. 2024,
    arXiv 2403.01218). A model is left out of the fit of its own kind. Standard deviations are with
    n - 1, at least LEAST_SD.

    Returns:
        Scores of u and of o in their order; NaN where either has fewer than three.
    """
    if min(len(u), len(o)) < 3:
        return np.full(len(u), np.nan), np.full(len(o), np.nan)
    of_u = _log_density(u, _others(u)) - _log_density(u, o)
    of_o = _log_density(o, u) - _log_density(o, _others(o))
    return of_u, of_o


def ratio_wins(u: Floats, o: Floats) -> Floats:
    """Whether U-LiRA ranks each of u above each of o: 1, 0, or .5, (u, o). Its mean is an AUC.

    Both of a pair are left out of the fits by which their likelihood ratios are compared. Only so
    is the AUC .5 on average where there is nothing to tell (Airola et al. 2011): of scores that
    leave out one model each it is below. NaN where either has
    fewer than three.
    """
    if min(len(u), len(o)) < 3:
        return np.full((len(u), len(o)), np.nan)
    without_u, without_o = _others(u)[:, None], _others(o)
    of_u = _log_density(u[:, None], without_u) - _log_density(u[:, None], without_o)
    of_o = _log_density(o, without_u) - _log_density(o, without_o)
    return wins(of_u, of_o)


def wins(first: Floats, second: Floats) -> Floats:
    """1 where the first is the larger, .5 where both are equal, else 0; NaN where one is."""
    unknown = np.isnan(first) | np.isnan(second)
    return np.where(unknown, np.nan, (first > second) + (first == second) / 2)


def _others(values: Floats) -> Floats:
    """All values but each, (n, n - 1)."""
    n = len(values)
    return np.broadcast_to(values, (n, n))[~np.eye(n, dtype=bool)].reshape(n, n - 1)


def _log_density(x: Floats, fitted: Floats) -> Floats:
    """Of normal distributions that are fitted over the last axis, without their constant."""
    mean, sd = fitted.mean(-1), np.maximum(fitted.std(-1, ddof=1), LEAST_SD)
    return np.asarray(-np.log(sd) - ((x - mean) / sd) ** 2 / 2)


def _below(values: Floats, thresholds: Floats) -> Counts:
    """How many values are below each threshold."""
    return np.sort(values).searchsorted(thresholds)


# How far two distributions of phi are apart


def epsilon(u: Floats, o: Floats, delta: float = 1e-5) -> float:
    """Epsilon of one sample, of the NeurIPS 2023 machine unlearning challenge (metric.py @ffae0ff).

    The largest, over decision rules, of log(1 - delta - FPR) - log FNR and
    log(1 - delta - FNR) - log FPR, at least 0 and at most CAP. A rule with FPR = FNR = 0 counts as
    CAP; one where only one of both is 0 is left out, as is a term whose logarithm is undefined; 0
    if nothing is left. The rules are those of the challenge, on its grids:

    - single: a model at or above t is taken for one of the kind with the larger median (u if they
      are equal). ceil(FINENESS range) values of t, evenly from the least to the largest phi;
    - double: a model in [left, right] is taken for one of the kind with the smaller range, w (the
      one with the smaller median if they are equal, and o if these are too). ceil(FINENESS length)
      values of right, evenly from that kind's least phi + w - REACH to its largest + REACH; for
      each of them 2 REACH FINENESS values of left, evenly from right - w - REACH to
      right - w + REACH;
    - where w is less than PEAKY times the other range, the answer is CAP at once.

    Published in float32, for as many of either kind, and with an assertion in the place of the 0.
    NaN where a kind is empty.
    """
    if not len(u) or not len(o):
        return math.nan
    positive, negative = (o, u) if np.median(o) > np.median(u) else (u, o)
    narrow, wide = negative, positive
    if np.ptp(positive) < np.ptp(negative):
        narrow, wide = positive, negative
    width = np.ptp(narrow)
    if width < PEAKY * np.ptp(wide):
        return CAP
    t = _evenly(min(u.min(), o.min()), max(u.max(), o.max()))
    missed, wrong = _below(positive, t) / len(positive), 1 - _below(negative, t) / len(negative)
    single = _largest_epsilon(missed, wrong, delta)
    right = _evenly(narrow.min() + width - REACH, narrow.max() + REACH)
    places = int(2 * REACH * FINENESS)
    left = np.linspace(right - width - REACH, right - width + REACH, places, axis=1)
    pairs = _between(narrow, left, right) * (len(wide) + 1) + _between(wide, left, right)
    different = np.flatnonzero(np.bincount(pairs.ravel()))  # few of about 160,000
    found, wrong = np.divmod(different, len(wide) + 1)
    return max(single, _largest_epsilon(1 - found / len(narrow), wrong / len(wide), delta))


def epsilon_cap(u: int, o: int) -> float:
    """The most that `epsilon` says of so many models of each kind where no rule separates them.

    One model of each kind is then mistaken: log(n - 1) for n of each, in general the larger of
    log(u (1 - 1/o)) and log(o (1 - 1/u)). NaN where a kind has fewer than two.
    """
    return math.log(max(u - u / o, o - o / u)) if min(u, o) > 1 else math.nan


def _evenly(low: float, high: float) -> Floats:
    """FINENESS values for each unit, both ends among them."""
    return np.linspace(low, high, math.ceil((high - low) * FINENESS))


def _between(values: Floats, left: Floats, right: Floats) -> Counts:
    """How many values are in [left, right], (right, left)."""
    up_to = np.sort(values).searchsorted(right, side="right")
    return np.asarray(np.maximum(up_to[:, None] - _below(values, left), 0))


def _largest_epsilon(fnr: Floats, fpr: Floats, delta: float) -> float:
    """The largest epsilon of rules with these errors."""
    if (fnr + fpr == 0).any():
        return CAP
    errors = np.stack([fnr, fpr])[:, fnr * fpr > 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        terms = np.log(1 - delta - errors[::-1]) - np.log(errors)
    return float(np.fmax.reduce(terms, axis=None, initial=0.0))


def klom(u: Floats, o: Floats, bins: int = 20, clip: float = 100.0) -> float:
    """KL divergence of margins, KL(u || o) in nats (data-unlearning-bench, eval.py @eb261f9).

    Both are clipped to [-clip, clip] and counted in equal bins from their common minimum to their
    common maximum, or minimum + 1 if these are equal. A bin is without its right end, so the
    maximum is in none, as published. Shares are of what is in a bin. Where u has a share, that of
    o is at least EMPTY; those of o are then divided by their sum. NaN where a kind is empty, or
    all of u is at the maximum.
    """
    if not len(u) or not len(o):
        return math.nan
    u, o = np.clip(u, -clip, clip), np.clip(o, -clip, clip)
    low, high = min(u.min(), o.min()), max(u.max(), o.max())
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    p, q = _shares(u, edges), _shares(o, edges)
    there = p > 0
    q[there] = np.maximum(q[there], EMPTY)
    kl = float((p[there] * np.log(p[there] / q[there] * q.sum())).sum())
    return kl if there.any() else math.nan


def _shares(values: Floats, edges: Floats) -> Floats:
    """Of the values that are in some bin, the share in each."""
    counts = np.diff([np.count_nonzero(values < edge) for edge in edges])
    return np.asarray(counts / max(1, counts.sum()))


def permutation_p(u: Floats, o: Floats, draws: int = 999, seed: int = SEED) -> float:
    """Probability that a random split of all models is at least as far apart as this one.

    Their distance is the energy distance, 2 E|U - O| - E|U - U'| - E|O - O'|, with each model also
    paired with itself (Szekely & Rizzo 2013, the V-statistic); of numbers it is twice the integral
    of the squared difference of the two distribution functions. Exact over all splits where there
    are at most draws + 1; else (1 + count) / (1 + draws) of random ones (Phipson & Smyth 2010).
    NaN where a kind is empty.
    """
    n, models = len(u), len(u) + len(o)
    if n in (0, models):
        return math.nan
    pooled = np.concatenate([u, o])
    order = np.argsort(pooled)
    if (count := math.comb(models, n)) <= draws + 1:
        splits = np.zeros((count, models), dtype=bool)
        np.put_along_axis(splits, np.array([*combinations(range(models), n)]), True, axis=1)
    else:
        splits = np.concatenate([order[None], *permutations(models, draws, seed)]) < n
    gaps = np.diff(pooled[order])
    energies, observed = _energies(splits, gaps), _energies(order[None] < n, gaps)
    return float((energies >= observed * (1 - ROUNDING)).mean())


def _energies(splits: NDArray[np.bool_], gaps: Floats) -> Floats:
    """A multiple of the energy distance of each split.

    Args:
        splits: (splits, models), which are on one side, the smallest phi first.
        gaps: (models - 1,), from one phi to the next.
    """
    up_to = splits.cumsum(1)
    models, n = splits.shape[1], up_to[:, -1:]
    return np.asarray((models * up_to - n * np.arange(1, models + 1))[:, :-1] ** 2 @ gaps)


# Over many samples


def pooled_auc(
    wins: Floats, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float, float]:
    """AUC over all pairs of models of all samples, with its interval over samples and models.

    Samples and models are both drawn with replacement, a pair as often as its sample times its two
    models (the pigeonhole bootstrap, Owen 2007), and the interval has the percentiles.

    Args:
        wins: (samples, models, models), whether the first model's score is above the second's: 1,
            0, or .5 where they are equal; NaN where they are no pair of the two kinds.

    Returns:
        AUC and both ends; NaN where there is no pair.
    """
    samples, models, _ = wins.shape
    is_pair, flat = ~np.isnan(wins), np.nan_to_num(wins).reshape(samples, -1)
    if not is_pair.any():
        return math.nan, math.nan, math.nan
    random, found = np.random.default_rng(seed), list[float]()
    drawn = [random.multinomial(n, np.full(n, 1 / n), size=resamples) for n in (samples, models)]
    of_pairs = (drawn[0] @ is_pair.reshape(samples, -1)).reshape(-1, models, models)
    of_wins = (drawn[0] @ flat).reshape(-1, models, models)
    for weights, won, pairs in zip(drawn[1], of_wins, of_pairs, strict=True):
        if count := weights @ pairs @ weights:
            found.append(float(weights @ won @ weights / count))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(np.nanmean(wins)), float(low), float(high)
