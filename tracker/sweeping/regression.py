"""Linear models of what attempts come to: fitted with scikit-learn, kept and applied as numbers.

Each is a pipeline of three parts: a feature that is undefined gets its median, features are
standardised, and a ridge regression (or, of flips, a logistic one) takes their weighted sum. How
strongly its weights are shrunk is chosen by cross-validation. All rows of a group, which here is a
sample, are on one side of every fold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tracker.sweeping.calibration import Floats, level_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FOLDS = 5
FEWEST_EACH = 2 * FOLDS  # samples that flip, and that do not, from which flips are fitted
STRENGTHS = (1.0, 10.0, 30.0, 100.0, 300.0, 1e3, 1e4)  # of the shrinkage: alpha, or 1 / C

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Linear:
    """A weighted sum of features, and the steps before it.

    Attributes:
        medians: what stands for features that are undefined, (F,).
        means, scales: a feature less its mean, divided by its scale, is what is weighted, (F,).
        weights: the standardised coefficients, (F,). intercept: added to the sum.
        strength: of the shrinkage, as it was chosen.
        is_logistic: whether the sum is the log-odds of a probability.
    """

    medians: Floats
    means: Floats
    scales: Floats
    weights: Floats
    intercept: float
    strength: float
    is_logistic: bool = False

    def __call__(self, features: Floats) -> Floats:
        """What it says of each row, (K,) of (K, F); NaN where a feature is undefined."""
        filled = np.where(np.isnan(features), self.medians, features)
        total = ((filled - self.means) / self.scales) @ self.weights + self.intercept
        return np.asarray(expit(total) if self.is_logistic else total)


@dataclass(frozen=True)
class Constant:
    """The same for every row: the rate of flips, where too few do or too few do not."""

    value: float

    def __call__(self, features: Floats) -> Floats:
        """The value for each row, (K,) of (K, F)."""
        return np.full(len(features), self.value)


Model = Linear | Constant
Fit = Callable[[Floats, Floats, Ints], Model]


def fit_ridge(features: Floats, target: Floats, groups: Ints) -> Linear:
    """Ridge regression of a target (n,) on features (n, F), NaN where one is undefined.

    A few attempts that end otherwise than all others would bend it: see `fenced`.

    Args:
        groups: (n,), whose row each is.
    """
    from sklearn.linear_model import Ridge

    return as_numbers(_chosen(Ridge(), "alpha", features, fenced(target), groups))


def fenced(values: Floats) -> Floats:
    """Values, but those beyond the outer fences are put onto them (Tukey 1977).

    The fences are three times the interquartile range below and above the quartiles; there are none
    where that range is zero.
    """
    low, high = np.quantile(values, [0.25, 0.75])
    reach = 3 * (high - low)
    return np.clip(values, low - reach, high + reach) if reach > 0 else values


def fit_flips(features: Floats, flipped: Floats, groups: Ints) -> Model:
    """Logistic regression of whether attempts flipped, 0 or 1 (n,).

    It is their rate where fewer than FEWEST_EACH groups did, or did not.
    """
    from sklearn.linear_model import LogisticRegression

    if min(len(np.unique(groups[flipped == value])) for value in (0, 1)) < FEWEST_EACH:
        return Constant(float(flipped.mean()))
    model = LogisticRegression(max_iter=1000)
    return as_numbers(_chosen(model, "C", features, flipped.astype(int), groups))


def out_of_fold(fit: Fit, features: Floats, target: Floats, groups: Ints) -> Floats:
    """What is said of each row by a model that was fitted without its fold, (n,).

    The strength of the shrinkage is chosen without the fold too.
    """
    found = np.full(len(target), np.nan)
    for train, test in folds(groups):
        found[test] = fit(features[train], target[train], groups[train])(features[test])
    return found


def folds(groups: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Rows to fit and rows to look at, FOLDS times; each group is looked at once."""
    from sklearn.model_selection import GroupKFold

    yield from GroupKFold(FOLDS).split(groups, groups=groups)


def coverage(predicted: Floats, measured: Floats, groups: Ints) -> float:
    """The share of rows within an interval whose width comes from the other folds' residuals.

    Args:
        predicted: by models that were fitted without the row's fold. measured: (n,).
    """
    residuals, covered = np.abs(measured - predicted), 0
    for others, test in folds(groups):
        half = level_of(residuals[others])
        covered += int((residuals[test] <= (np.inf if half is None else half)).sum())
    return covered / len(measured)


def _chosen(model: Any, name: str, features: Floats, target: Any, groups: Ints) -> Pipeline:
    """The pipeline with the strength that does best on groups that it was not fitted on."""
    from sklearn.impute import SimpleImputer
    from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    is_logistic = name == "C"
    search = GridSearchCV(
        model,
        {name: [1 / strength if is_logistic else strength for strength in STRENGTHS]},
        scoring="neg_log_loss" if is_logistic else "neg_mean_squared_error",
        cv=(StratifiedGroupKFold if is_logistic else GroupKFold)(FOLDS),
        error_score="raise",
    )
    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    steps = [("impute", impute), ("scale", StandardScaler()), ("search", search)]
    return Pipeline(steps).fit(features, target, search__groups=groups)


def as_numbers(pipeline: Pipeline) -> Linear:
    """A fitted pipeline as the numbers that it applies."""
    impute, scale, search = (step for _, step in pipeline.steps)
    model = search.best_estimator_
    is_logistic = hasattr(model, "classes_")
    return Linear(
        medians=np.asarray(impute.statistics_, dtype=np.float64),
        means=np.asarray(scale.mean_, dtype=np.float64),
        scales=np.asarray(scale.scale_, dtype=np.float64),
        weights=np.asarray(model.coef_, dtype=np.float64).reshape(-1),
        intercept=float(np.asarray(model.intercept_).item()),
        strength=1 / float(model.C) if is_logistic else float(model.alpha),
        is_logistic=is_logistic,
    )
