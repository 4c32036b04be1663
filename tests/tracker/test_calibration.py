"""Intervals by split conformal prediction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tracker.studies.calibration import (
    FEWEST,
    LEVEL,
    SCALES,
    interval,
    is_empty,
    reach,
    within_budget,
)


def test_by_hand() -> None:
    """Of 20 residuals 1 to 20 the 19th smallest counts: ceil(21 * 0.9) = 19."""
    residuals = np.array([5.0, 20, 1, 19, *range(2, 5), *range(6, 19)])
    signs = np.where(np.arange(20) % 2, 1, -1)
    predicted = np.full(20, 100.0)
    half = reach(predicted, predicted + signs * residuals, "prob_lost")
    assert half == 19
    low, high = interval(np.array([7.0, np.nan]), half, "prob_lost")
    np.testing.assert_array_equal(low, [-12, np.nan])
    np.testing.assert_array_equal(high, [26, np.nan])


def test_steps_are_off_by_a_factor() -> None:
    predicted = np.arange(1.0, 41)
    half = reach(predicted, predicted * 2, "steps")
    assert half == pytest.approx(math.log(2))
    low, high = interval(np.array([3.0]), half, "steps")
    np.testing.assert_allclose((low, high), ([1.5], [6.0]))


@pytest.mark.parametrize(("width", "empty"), [(0.0, False), (8.9, False), (9.1, True), (99, True)])
def test_an_interval_that_spans_nearly_all_is_empty(width: float, empty: bool) -> None:
    measured = np.array([np.nan, 1.0, 4.0, 11.0, np.inf])
    low = np.array([0.0, 3.0, np.nan])
    assert is_empty((low, low + width), measured) is empty
    assert not is_empty((low, low), np.ones(3))


@pytest.mark.parametrize("quantity", SCALES)
def test_few_residuals_give_no_interval(quantity: str) -> None:
    some = np.arange(1.0, FEWEST)
    assert reach(some, some, quantity) is None
    low, high = interval(some, None, quantity)
    assert np.isnan(low).all()
    assert np.isnan(high).all()
    undefined = np.append(some, [np.nan, np.inf])
    assert reach(undefined, np.append(some, [1.0, 1.0]), quantity) is None
    assert reach(np.append(some, 1.0), np.append(some, 1.0), quantity) == 0


@pytest.mark.parametrize("quantity", SCALES)
@pytest.mark.parametrize("n", [20, 57])
def test_as_many_are_covered_as_it_says(quantity: str, n: int) -> None:
    """Over many draws between LEVEL and LEVEL + 1 / (n + 1), whatever the distribution is."""
    random = np.random.default_rng(n)
    covered = 0
    trials = 4000
    for _ in range(trials):
        predicted = random.exponential(size=n + 1) + 0.1
        measured = predicted * random.exponential(size=n + 1)
        half = reach(predicted[:n], measured[:n], quantity)
        low, high = interval(predicted[n:], half, quantity)
        covered += int(low[0] <= measured[n] <= high[0])
    error = 4 * math.sqrt(0.09 / trials)
    assert LEVEL - error < covered / trials < LEVEL + 1 / (n + 1) + error


def test_exact_steps_lie_in_intervals_of_no_width() -> None:
    """exp(log k) is not always k."""
    steps = np.arange(1.0, 51)
    assert (np.exp(np.log(steps)) != steps).any()
    low, high = interval(steps, 0.0, "steps")
    found = within_budget({"steps_low": low, "steps_high": high, "gt": steps}, 40)
    assert np.array_equal(found["steps_low"], np.minimum(steps, 40))
    assert np.array_equal(found["steps_high"], np.minimum(steps, 40))
    assert np.array_equal(found["gt"], steps)


def test_steps_lie_within_the_budget() -> None:
    ends = {"steps_low": np.array([2.7, 0.2, np.nan]), "steps_high": np.array([5.1, 30.0, np.nan])}
    found = within_budget(ends, 20)
    assert np.array_equal(found["steps_low"], [2.7, 1, np.nan], equal_nan=True)
    assert np.array_equal(found["steps_high"], [5.1, 20, np.nan], equal_nan=True)
