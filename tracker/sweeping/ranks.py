"""Ranks as normal scores, and back: values of any scale and shape as those of a normal variable."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from tracker.sweeping.calibration import Floats


def normal_scores(values: Floats, reference: Floats) -> Floats:
    """The normal score of the rank that each value (K,) has among reference values (n,).

    It is the quantile of the normal distribution for (below + equal / 2 + 1/2) / (n + 1), as van
    der Waerden's scores are for values of the reference itself. NaN for NaN; those of the reference
    are left out, and where all are, no value has a score.
    """
    sorted_reference = np.sort(reference[~np.isnan(reference)])
    if not len(sorted_reference):
        return np.full(len(values), np.nan)
    twice = sum(np.searchsorted(sorted_reference, values, side) for side in ("left", "right"))
    scores = ndtri((twice + 1) / (2 * (len(sorted_reference) + 1)))
    return np.where(np.isnan(values), np.nan, scores)


def from_normal_scores(scores: Floats, reference: Floats) -> Floats:
    """The values that have these normal scores (K,) among reference values (n,).

    Linear between those of the reference; beyond its ends the lowest and the highest. NaN for NaN.
    """
    known = np.unique(reference)
    return np.asarray(np.interp(scores, normal_scores(known, reference), known))
