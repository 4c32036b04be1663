"""How well one sample was unlearned."""

import math
from collections.abc import Sequence

import numpy as np

from tests.oracles.arrays import Maybe, Numbers, as_float64


def forgetting(prob_before: float, prob_after: float) -> float:
    """F = p_theta(x_f) - p_vartheta(x_f)."""
    return prob_before - prob_after


def utility(test_probs_before: Numbers, test_probs_after: Numbers) -> float:
    """U = 1 - mean over the test set of [p_theta(x) - p_vartheta(x)]."""
    return 1.0 - float(np.mean(as_float64(test_probs_before) - as_float64(test_probs_after)))


def gt(u: Maybe, f: Maybe, lam: Maybe) -> Maybe:
    """lam u f / (lam u + f); 0 if u <= 0 or f <= 0; None if anything is None or NaN."""
    if u is None or f is None or lam is None:
        return None
    if math.isnan(u) or math.isnan(f) or math.isnan(lam):
        return None
    if u <= 0 or f <= 0:
        return 0.0
    return lam * u * f / (lam * u + f)


def lambda_set_sizes(n_test: int) -> float:
    """One forget sample over the size of the test set."""
    return 1.0 / n_test


def lambda_mean_ratio(us: Sequence[Maybe], fs: Sequence[Maybe]) -> Maybe:
    """mean |F| / mean |U| over the samples where both are defined.

    None if there is no such sample or if mean |U| = 0.
    """
    pairs = []
    for u, f in zip(us, fs, strict=True):
        if u is not None and f is not None and not math.isnan(u) and not math.isnan(f):
            pairs.append((u, f))
    mean_u = sum(abs(u) for u, _ in pairs) / len(pairs) if pairs else 0.0
    if mean_u == 0:
        return None
    return sum(abs(f) for _, f in pairs) / len(pairs) / mean_u


def lambda_one() -> float:
    """The constant 1."""
    return 1.0
