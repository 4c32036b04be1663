"""Variances of few values each, moderated by what all of them have in common.

Smyth 2004 (Statistical Applications in Genetics and Molecular Biology 3, 3), as in limma.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

Floats = NDArray[np.float64]

ENDS = math.log(1e-6), math.log(1e6)  # of half the prior's degrees of freedom


def moderated(variances: Floats, freedom: Floats) -> tuple[float, float, Floats]:
    """The prior that variances have in common, and the variances drawn to it.

    They are s^2 ~ s0^2 F(d, d0). The prior's d0 and s0^2 follow from mean and variance of log s^2;
    d0 is infinite where they spread no more than by chance.

    Args:
        variances: s^2, (N,). freedom: d of each, (N,); those below 1 get the prior's variance.

    Returns: d0, s0^2 and (d0 s0^2 + d s^2) / (d0 + d), (N,); NaN where no variance is known.
    """
    known = (freedom >= 1) & (variances > 0)
    if not known.any():
        return math.nan, math.nan, np.full(len(variances), math.nan)
    half = freedom[known] / 2
    logs = np.log(variances[known]) - digamma(half) + np.log(half)
    spread = (logs.var(ddof=1) if len(logs) > 1 else 0.0) - polygamma(1, half).mean()
    if spread <= polygamma(1, math.exp(ENDS[1])):
        common = math.exp(logs.mean())
        return math.inf, common, np.full(len(variances), common)
    root = brentq(lambda at: polygamma(1, math.exp(at)) - spread, *ENDS)
    prior = 2 * math.exp(root)
    common = math.exp(logs.mean() + digamma(prior / 2) - math.log(prior / 2))
    own = np.where(freedom >= 1, freedom * np.nan_to_num(variances), 0.0)
    return prior, common, (prior * common + own) / (prior + np.maximum(freedom, 0.0))
