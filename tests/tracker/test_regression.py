"""Linear models: against normal equations, against scikit-learn's own pipeline, and planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from tests.oracles.ridge import ridge
from tracker.sweeping.calibration import LEVEL, level_of
from tracker.sweeping.regression import (
    FEWEST_EACH,
    FOLDS,
    STRENGTHS,
    Constant,
    Linear,
    as_numbers,
    coverage,
    fenced,
    fit_flips,
    fit_ridge,
    folds,
    out_of_fold,
)

Floats = NDArray[np.float64]
WEIGHTS = np.array([2.0, -1.0, 0.5, 0.0])


def planted(n: int, noise: float, seed: int = 0) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Features, a target that is linear in them but for noise, and groups of two rows."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, len(WEIGHTS))) * [1, 3, 0.1, 2] + [0, 5, 1, -2]
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    return features, standard @ WEIGHTS + 7 + noise * random.normal(size=n), np.arange(n) // 2


@pytest.mark.parametrize("undefined", [0, 9])
def test_ridge_against_normal_equations(undefined: int) -> None:
    features, target, groups = planted(60, 1.0)
    features[:undefined, 1] = np.nan
    model = fit_ridge(features, target, groups)
    others = planted(20, 1.0, seed=1)[0]
    others[3, 2] = np.nan
    expected = ridge(features, target, model.strength, others)
    np.testing.assert_allclose(model(others), expected, rtol=0, atol=1e-10)


def test_by_hand() -> None:
    """(x - 1) / 2 * 3 + 4; an undefined x is 5."""
    medians, means, scales, weights = (np.array([value]) for value in (5.0, 1.0, 2.0, 3.0))
    model = Linear(medians, means, scales, weights, intercept=4.0, strength=1.0)
    np.testing.assert_array_equal(model(np.array([[1.0], [3.0], [np.nan]])), [4, 7, 10])
    odds = Linear(*(np.zeros(1), np.zeros(1), np.ones(1), np.ones(1)), 0.0, 1.0, is_logistic=True)
    np.testing.assert_allclose(odds(np.array([[0.0], [np.log(3)]])), [0.5, 0.75])


@pytest.mark.parametrize("is_logistic", [False, True])
def test_the_numbers_say_what_the_pipeline_says(is_logistic: bool) -> None:
    features, target, _ = planted(80, 1.0)
    features[5:9, 0] = np.nan
    model: Any = LogisticRegression() if is_logistic else Ridge()
    search = GridSearchCV(model, {"C" if is_logistic else "alpha": [0.3, 3.0]})
    impute = SimpleImputer(strategy="median")
    steps = [("impute", impute), ("scale", StandardScaler()), ("search", search)]
    pipeline = Pipeline(steps).fit(features, (target > 7).astype(int) if is_logistic else target)
    said = pipeline.predict_proba(features)[:, 1] if is_logistic else pipeline.predict(features)
    np.testing.assert_allclose(as_numbers(pipeline)(features), said, rtol=0, atol=1e-12)


def test_a_planted_relation_is_recovered() -> None:
    features, target, groups = planted(400, 0.01)
    model = fit_ridge(features, target, groups)
    assert model.strength == min(STRENGTHS)
    np.testing.assert_allclose(model.weights, WEIGHTS, atol=0.02)
    without = out_of_fold(fit_ridge, features, target, groups)
    assert spearmanr(without, target).statistic > 0.999


def test_noise_is_not_learned() -> None:
    features, _, groups = planted(200, 0.0)
    target = np.random.default_rng(5).normal(size=200)
    model = fit_ridge(features, target, groups)
    assert model.strength >= 100
    assert abs(model.weights).max() < 0.1


def test_nine_of_ten_new_rows_are_covered() -> None:
    """By an interval that comes from residuals of rows that each model was not fitted on."""
    found, own = [], []
    for seed in range(5):
        features, target, groups = planted(400, 1.0, seed)
        old, new = slice(0, 200), slice(200, None)
        without = out_of_fold(fit_ridge, features[old], target[old], groups[old])
        half = level_of(abs(without - target[old]))
        assert half is not None
        said = fit_ridge(features[old], target[old], groups[old])(features[new])
        found.append(np.mean(abs(said - target[new]) <= half))
        own.append(coverage(without, target[old], groups[old]))
    assert np.mean(found) == pytest.approx(LEVEL, abs=0.03)
    assert np.mean(own) == pytest.approx(LEVEL, abs=0.03)


def test_out_of_fold_against_a_loop() -> None:
    features, target, groups = planted(50, 1.0)
    found = out_of_fold(fit_ridge, features, target, groups)
    for group in (0, 7, 24):
        row = np.flatnonzero(groups == group)
        (train,) = (train for train, test in folds(groups) if row[0] in test)
        model = fit_ridge(features[train], target[train], groups[train])
        np.testing.assert_array_equal(found[row], model(features[row]))


def test_a_group_is_on_one_side_of_each_fold() -> None:
    groups = np.random.default_rng(0).integers(40, size=100)
    looked_at = []
    for train, test in folds(groups):
        assert not {*groups[train]} & {*groups[test]}
        looked_at += test.tolist()
    assert sorted(looked_at) == list(range(100))
    assert len(list(folds(groups))) == FOLDS


def test_odd_values_are_put_onto_the_fences() -> None:
    """Quartiles 2 and 4 of 1 to 5, so that the fences are at -4 and 10."""
    np.testing.assert_array_equal(fenced(np.array([1.0, 2, 3, 4, 5])), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(fenced(np.array([-90.0, 2, 3, 4, 99])), [-4, 2, 3, 4, 10])
    equal = np.array([1.0, 1, 1, 1, 1, 9])
    np.testing.assert_array_equal(fenced(equal), equal)


@pytest.mark.parametrize("few", [0, FEWEST_EACH - 1])
def test_too_few_flips_are_a_rate(few: int) -> None:
    features, _, groups = planted(100, 0.0)
    flipped = (groups < few).astype(float)
    assert fit_flips(features, flipped, groups) == Constant(few / 50)
    others = fit_flips(features, 1 - flipped, groups)
    assert isinstance(others, Constant)
    assert others.value == pytest.approx(1 - few / 50)


def test_flips_that_follow_a_feature() -> None:
    features, _, groups = planted(400, 0.0)
    chance = 1 / (1 + np.exp(-2 * (features[:, 1] - 5)))
    flipped = (np.random.default_rng(1).uniform(size=400) < chance).astype(float)
    said = out_of_fold(fit_flips, features, flipped, groups)
    assert np.mean((said - flipped) ** 2) < 0.6 * flipped.var()
    assert np.mean((said - chance) ** 2) < 0.01
