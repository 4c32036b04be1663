"""Intervals by split conformal prediction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tracker.studies.calibration import FEWEST, LEVEL, SCALES, interval, reach

MANY = 10**9  # steps: a budget that cuts nothing off


def test_by_hand() -> None:
    """Of 20 residuals 1 to 20 the 19th smallest counts: ceil(21 * 0.9) = 19."""
    residuals = np.array([5.0, 20, 1, 19, *range(2, 5), *range(6, 19)])
    signs = np.where(np.arange(20) % 2, 1, -1)
    predicted = np.full(20, 100.0)
    half = reach(predicted, predicted + signs * residuals, "prob_lost")
    assert half == 19
    ends = interval(np.array([7.0, np.nan]), half, "prob_lost", 1)
    np.testing.assert_array_equal(ends, ([-12, np.nan], [26, np.nan]))


def test_steps_are_off_by_a_factor_and_lie_within_the_budget() -> None:
    predicted = np.arange(1.0, 41)
    half = reach(predicted, predicted * 2, "steps")
    assert half == pytest.approx(math.log(2))
    some = np.array([3.0, 1.5, 12.0, np.nan])
    low, high = interval(some, half, "steps", 20)
    np.testing.assert_allclose(low, [1.5, 1, 6, np.nan], atol=1e-6)
    np.testing.assert_allclose(high, [6, 3, 20, np.nan], atol=1e-6)


@pytest.mark.parametrize("quantity", SCALES)
def test_few_residuals_give_no_interval(quantity: str) -> None:
    some = np.arange(1.0, FEWEST)
    assert reach(some, some, quantity) is None
    assert np.isnan(interval(some, None, quantity, MANY)).all()
    undefined = np.append(some, [np.nan, np.inf])
    assert reach(undefined, np.append(some, [1.0, 1.0]), quantity) is None
    assert reach(np.append(some, 1.0), np.append(some, 1.0), quantity) == 0


@pytest.mark.parametrize(("quantity", "n"), [("steps", 57), ("gt", 20), ("gt", 57)])
def test_as_many_are_covered_as_it_says(quantity: str, n: int) -> None:
    """Over many draws between LEVEL and LEVEL + 1 / (n + 1), whatever the distribution is."""
    random, trials, covered = np.random.default_rng(n), 4000, 0
    for _ in range(trials):
        predicted = 1000 * random.exponential(size=n + 1) + 1000
        measured = predicted * random.exponential(size=n + 1)
        half = reach(predicted[:n], measured[:n], quantity)
        low, high = interval(predicted[n:], half, quantity, MANY)
        covered += int(low[0] <= measured[n] <= high[0])
    error = 4 * math.sqrt(0.09 / trials)
    assert LEVEL - error < covered / trials < LEVEL + 1 / (n + 1) + error
