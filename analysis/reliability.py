"""How sure the reliability of GT is: an interval by resampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.statistics import BLOCK, Counts, Floats, centred_ranks, draws

RESAMPLES, SEED, LEVEL = 1000, 0, 0.95
FEWEST_SAMPLES = 8  # with five the interval holds the true value in 79% to 94% of trials only
FEWEST_REPEATS = 4  # of fewer a resample is often one repeat alone


def mean_rho_interval(gt: Sequence[Sequence[float]]) -> list[float]:
    """95% percentile bootstrap interval of the mean of Spearman's rho over all pairs of repeats.

    Up to three repeats only the samples are drawn with replacement: what another seed would change
    beyond the chance of each sample is not in the interval. From four on repeats are drawn too, and
    the pairs of a repeat with itself left out: the pigeonhole bootstrap (Owen 2007, The Annals of
    Applied Statistics 1), which errs on the wide side where all repeats are equally good.

    Args:
        gt: a row a repeat, with a value for each sample, in the same order.

    Returns:
        Both ends; nothing where a repeat has no order, or for fewer samples than FEWEST_SAMPLES.
    """
    table = np.asarray(gt, dtype=np.float64)
    repeats, n = table.shape
    if repeats < 2 or n < FEWEST_SAMPLES or (np.ptp(table, axis=1) == 0).any():
        return []
    weights = _drawn_repeats(repeats)
    found, start = [], 0
    for counts in draws(n, RESAMPLES, SEED, BLOCK // repeats):
        found.append(_mean_rho(table, counts, weights[start : start + len(counts)]))
        start += len(counts)
    rho = np.concatenate(found)
    ends = np.quantile(rho[np.isfinite(rho)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(end) for end in np.clip(ends, -1, 1)]  # rho may be one by rounding beyond


def _drawn_repeats(repeats: int) -> Counts:
    """How often each repeat is drawn in each resample, (resamples, repeats): once, if few."""
    if repeats < FEWEST_REPEATS:
        return np.ones((RESAMPLES, repeats), dtype=np.int64)
    random = np.random.default_rng([SEED, repeats])
    return random.multinomial(repeats, np.full(repeats, 1 / repeats), size=RESAMPLES)


def _mean_rho(table: Floats, counts: Counts, weights: Counts) -> Floats:
    """Weighted mean of rho over pairs of two repeats, for each row of counts and of weights.

    NaN where a repeat has no order, or all that was drawn is one repeat.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ranks = np.stack([centred_ranks(row, counts) for row in table], axis=1)
        ranks *= np.sqrt(counts)[:, None]
        ranks /= np.linalg.norm(ranks, axis=2, keepdims=True)
        pairs = weights[:, :, None] * weights[:, None] * (1 - np.eye(len(table)))
        rho = ranks @ ranks.transpose(0, 2, 1)
        return np.asarray((pairs * rho).sum((1, 2)) / pairs.sum((1, 2)))
