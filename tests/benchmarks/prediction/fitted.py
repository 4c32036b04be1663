"""Models that are fitted on attempts: ridge regression, and boosted trees.

They predict the rank of a sample by a target's mean, from the ranks of all factors that are known
before and of the index's own numbers; ranks are among the samples of one base model and algorithm.
Each sample is predicted by a model that was fitted on no attempt of it, with settings that were
chosen among the others, grouped by sample too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from factors.index import NUMBERS
from tests.benchmarks.prediction.attempts import Cell

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

OUTER, INNER, SEED = 5, 4, 0
PENALTIES = tuple(10.0**k for k in range(-2, 4))
DEPTHS = (1, 3)
Predict = Callable[[Floats, Floats, list[str], Floats], Floats]  # x, y, groups, new x to new y
Setting = Callable[[], Ridge | HistGradientBoostingRegressor]
Settings = Sequence[Setting]


@dataclass(frozen=True)
class Rows:
    """Samples of one cell: ranks of features (n, d) and of the target (n, targets), in [0, 1]."""

    features: Floats
    targets: Floats
    groups: list[str]


def names_of(cells: Sequence[Cell]) -> list[str]:
    """The factors that are defined somewhere in each of the cells."""
    known = [{name for name, v in cell.factors.items() if np.isfinite(v).any()} for cell in cells]
    return sorted(set.intersection(*known))


def rows_of(cell: Cell, names: Sequence[str], target: str) -> Rows:
    """The rows of a cell. What is undefined gets the middle rank."""
    columns = [cell.factors[name] for name in names] + [cell.predicted[name] for name in NUMBERS]
    features = np.stack([_ranks(column) for column in columns], axis=1)
    groups = [f"{cell.case.dataset} {sample}" for sample in cell.sample_ids]
    return Rows(features, _ranks(cell.mean(target))[:, None], groups)


def _ranks(values: Floats) -> Floats:
    ranks = rankdata(values, nan_policy="omit") / np.isfinite(values).sum().clip(1)
    return np.asarray(np.nan_to_num(ranks, nan=0.5))


def ridge(x: Floats, y: Floats, groups: list[str], new: Floats) -> Floats:
    """Ridge regression with the penalty that is best on samples left out, for each target."""
    return _chosen([partial(Ridge, alpha=alpha) for alpha in PENALTIES], x, y, groups, new)


def boosted(x: Floats, y: Floats, groups: list[str], new: Floats) -> Floats:
    """Boosted trees with the depth that is best on samples left out."""

    def trees(depth: int) -> HistGradientBoostingRegressor:
        return HistGradientBoostingRegressor(
            max_depth=depth, max_iter=100, learning_rate=0.08, min_samples_leaf=5, random_state=SEED
        )

    columns = [
        _chosen([partial(trees, depth) for depth in DEPTHS], x, y[:, k], groups, new)
        for k in range(y.shape[1])
    ]
    return np.stack(columns, axis=1)


def _chosen(settings: Settings, x: Floats, y: Floats, groups: list[str], new: Floats) -> Floats:
    """The predictions of the settings with the least squared error on groups left out.

    Args:
        y: (n,), or (n, targets), of which each has settings of its own.
    """

    def fit(setting: Setting, rows: Places | slice, where: Floats) -> Floats:
        found = setting().fit(x[rows], y[rows]).predict(where)
        return np.asarray(found.reshape(len(where), *y.shape[1:]))

    errors = np.zeros((len(settings), *y.shape[1:]))
    for rest, left_out in GroupKFold(INNER).split(x, groups=groups):
        for k, setting in enumerate(settings):
            errors[k] += ((fit(setting, rest, x[left_out]) - y[left_out]) ** 2).sum(axis=0)
    found = np.stack([fit(setting, slice(None), new) for setting in settings])
    best = np.broadcast_to(errors.argmin(axis=0), (1, *found.shape[1:]))
    return np.asarray(np.take_along_axis(found, best, axis=0)[0])


def predictions(predict: Predict, own: Rows, others: Sequence[Rows] | None = None) -> Floats:
    """Out of sample, (n, targets): fitted on the own rows, or on those of others if given.

    In either case not on any row of a sample that is predicted.
    """
    found = np.full_like(own.targets, np.nan)
    parts = [own] if others is None else others
    x = np.concatenate([part.features for part in parts])
    y = np.concatenate([part.targets for part in parts])
    groups = [group for part in parts for group in part.groups]
    for at in _folds(own):
        left_out = {own.groups[k] for k in at}
        rest = np.array([group not in left_out for group in groups])
        kept = [group for group in groups if group not in left_out]
        found[at] = predict(x[rest], y[rest], kept, own.features[at])
    return found


def _folds(rows: Rows) -> Iterator[Places]:
    order = np.random.default_rng(SEED).permutation(len(rows.groups))
    yield from np.array_split(order, OUTER)


def null(own: Rows, permutations: int) -> Floats:
    """Out-of-sample predictions of targets that are shuffled, and these targets: (2, n, many)."""
    random = np.random.default_rng(SEED)
    shuffled = random.permuted(np.repeat(own.targets, permutations, axis=1), axis=0)
    return np.stack([predictions(ridge, Rows(own.features, shuffled, own.groups)), shuffled])
