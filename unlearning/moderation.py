"""Variances of few values each, moved towards what all of them have in common."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def moderated(variances: Floats, dof: Floats | float) -> tuple[float, float, Floats]:
    """Empirical Bayes variances (Smyth 2004, limma's fitFDist and squeezeVar).

    The true variances are taken for draws from s0^2 d0 / chi^2(d0). d0 and s0^2 follow from mean
    and variance of log s^2: with e = log s^2 - digamma(d / 2) + log(d / 2),
    trigamma(d0 / 2) = var e - mean trigamma(d / 2), with n - 1, and
    log s0^2 = mean e + digamma(d0 / 2) - log(d0 / 2). If the right side of the first is not
    positive, the variances differ by chance only: d0 = inf and log s0^2 = mean e.

    Args:
        variances: s^2, (samples,). dof: their degrees of freedom d, for all or for each.

    Returns:
        d0, s0^2 and the variances, (d0 s0^2 + d s^2) / (d0 + d). What has less than one degree of
        freedom is left out of the fit and gets s0^2; a variance of 0 is left out of the fit. Of a
        single one d0 is 0, so that it stays as it is; without any, all are NaN.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    dof = np.broadcast_to(np.asarray(dof, dtype=np.float64), variances.shape)
    usable = dof >= 1
    fitted = usable & (variances > 0)
    half, logs = dof[fitted] / 2, np.log(variances[fitted])
    if not len(logs):
        return math.nan, math.nan, np.full(len(variances), np.nan)
    e = logs - digamma(half) + np.log(half)
    if len(e) == 1:
        prior_dof, prior = 0.0, float(variances[fitted][0])
    elif (spread := float(e.var(ddof=1) - polygamma(1, half).mean())) <= 0:
        prior_dof, prior = math.inf, math.exp(e.mean())
    else:
        # 1 / x < trigamma(x) < 1 / x + 1 / x^2, each end moved by a half against rounding.
        ends = math.log(0.5 / spread), math.log((1 + math.sqrt(1 + 4 * spread)) / spread)
        x = math.exp(brentq(lambda t: math.log(polygamma(1, math.exp(t)) / spread), *ends))
        prior_dof, prior = 2 * x, math.exp(e.mean() + digamma(x) - math.log(x))
    shrunk = np.full(len(variances), prior)
    if math.isfinite(prior_dof):
        d = dof[usable]
        shrunk[usable] = (prior_dof * prior + d * variances[usable]) / (prior_dof + d)
    return prior_dof, prior, shrunk
