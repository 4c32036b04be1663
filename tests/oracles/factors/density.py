"""Where a sample is among the features of the training data."""

import math

import numpy as np
import scipy.spatial.distance
from sklearn.neighbors import KernelDensity

from tests.oracles.arrays import Array, Maybe, Numbers, as_float64, squared_distance


def standardised(features: Numbers) -> Array:
    """Each column minus its mean, over its population standard deviation; constant columns 0."""
    values = as_float64(features)
    result = np.zeros_like(values)
    for column in range(values.shape[1]):
        x = values[:, column]
        if x.max() > x.min():
            result[:, column] = (x - np.mean(x)) / np.std(x)
    return result


def median_distance(features: Numbers) -> float:
    """Median of the euclidean distances of all pairs of rows."""
    return float(np.median(scipy.spatial.distance.pdist(as_float64(features))))


def kde_density(features: Numbers, index: int, bandwidth: float | None = None) -> Maybe:
    """Log of the mean kernel exp(-d^2 / 2 h^2) between row `index` and all the other rows.

    Rows are standardised over all training features (x_f included); h is the median distance of
    all pairs of them (x_f included) unless given, in standardised units. scikit-learn's log
    density carries the normaliser -(D/2 log 2 pi + D log h), which is added back. None if h = 0.
    """
    rows = standardised(features)
    h = median_distance(rows) if bandwidth is None else bandwidth
    if h == 0:
        return None
    others = np.delete(rows, index, axis=0)
    density = KernelDensity(kernel="gaussian", metric="euclidean", bandwidth=h).fit(others)
    log_density = float(density.score_samples(rows[index : index + 1])[0])
    dimensions = int(rows.shape[1])
    return log_density + dimensions / 2 * math.log(2 * math.pi) + dimensions * math.log(h)


def mean_row(rows: Array) -> Array:
    """Mean of the rows."""
    return np.array([sum(map(float, column)) / len(rows) for column in rows.T])


def variance(rows: Array) -> float:
    """Mean squared distance of the rows from their mean."""
    centre = mean_row(rows)
    return sum(squared_distance(row, centre) for row in rows) / len(rows)


def entanglement(retain_features: Numbers, forget_features: Numbers) -> float:
    """(Var(R) + Var(S)) / (1/2 (||mu_R - mu||^2 + ||mu_S - mu||^2)), mu = (mu_R + mu_S) / 2.

    Of two sets, of which the second may be one sample. NaN if the denominator is 0.
    """
    retain, forget = as_float64(retain_features), as_float64(forget_features)
    mu_r, mu_s = mean_row(retain), mean_row(forget)
    mu = (mu_r + mu_s) / 2
    between = (squared_distance(mu_r, mu) + squared_distance(mu_s, mu)) / 2
    if between == 0:
        return math.nan
    return (variance(retain) + variance(forget)) / between


def entanglement_of_one(retain_features: Numbers, forget_feature: Numbers) -> float:
    """The same of one sample, simplified: 4 Var(R) / ||phi_f - mu_R||^2; NaN if phi_f = mu_R."""
    retain = as_float64(retain_features)
    between = squared_distance(as_float64(forget_feature).flatten(), mean_row(retain))
    if between == 0:
        return math.nan
    return 4 * variance(retain) / between
