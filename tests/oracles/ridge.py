"""Ridge regression by its normal equations, and ranks as normal scores, in the most obvious way."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist, median

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ridge(features: Floats, target: Floats, strength: float, of: Floats) -> Floats:
    """What ridge regression of a target (n,) on features (n, F) says of other rows (K, F).

    NaN gets the median of its column, and columns are standardised by their mean and population
    standard deviation. The mean of the target is not shrunk.
    """
    columns = [[v for v in column if not np.isnan(v)] for column in features.T]
    medians = [median(column) for column in columns]
    x, z = (
        np.array(
            [[m if np.isnan(v) else v for v, m in zip(row, medians, strict=True)] for row in t]
        )
        for t in (features, of)
    )
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    x, z = (x - mean) / deviation, (z - mean) / deviation
    left = x.T @ x + strength * np.eye(x.shape[1])
    weights = np.linalg.inv(left) @ x.T @ (target - target.mean())
    return np.asarray(z @ weights + target.mean())


def normal_score(value: float, reference: Sequence[float]) -> float:
    """The normal score of a value's rank among reference values, those equal to it halved."""
    below = sum(other < value for other in reference)
    equal = sum(other == value for other in reference)
    return NormalDist().inv_cdf((below + equal / 2 + 0.5) / (len(reference) + 1))
