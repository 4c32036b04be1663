"""Density and entanglement by hand."""

import math

import numpy as np
import pytest

from tests.oracles.factors.density import (
    entanglement,
    entanglement_of_one,
    kde_density,
    median_distance,
    standardised,
)


def test_kde_by_hand() -> None:
    # Column 0 is (0, 1, 2) with population std s = sqrt(2/3), column 1 is constant. Distances
    # are 1/s, 1/s, 2/s, their median h = 1/s. From row 0: exp(-1/2) and exp(-4/2), the mean's log.
    features = [[0.0, 7.0], [1.0, 7.0], [2.0, 7.0]]
    expected = math.log((math.exp(-0.5) + math.exp(-2)) / 2)
    assert kde_density(features, 0) == pytest.approx(expected)
    # From row 1 both are one step away; with h = 1 the distance is 1/s, d^2 = 3/2.
    assert kde_density(features, 1) == pytest.approx(-0.5)
    assert kde_density(features, 1, bandwidth=1.0) == pytest.approx(-0.75)
    assert kde_density([[1.0], [1.0]], 0) is None


@pytest.mark.parametrize("dimensions", [3, 64, 512])
def test_kde_against_a_loop(dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    features = rng.normal(size=(60, dimensions)) * rng.uniform(0.1, 10, size=dimensions)
    rows = standardised(features)
    for h in (median_distance(rows), 0.5):
        others = [rows[j] for j in range(60) if j != 4]
        exponents = [-float(np.sum((rows[4] - row) ** 2)) / (2 * h**2) for row in others]
        top = max(exponents)
        expected = top + math.log(sum(math.exp(e - top) for e in exponents) / 59)
        assert kde_density(features, 4, bandwidth=h) == pytest.approx(expected, rel=1e-9)


def test_entanglement_by_hand() -> None:
    # R: (0, 0), (2, 0): mu_R (1, 0), Var 1. S: (1, 2), (1, 6): mu_S (1, 4), Var 4. mu = (1, 2),
    # both means 4 from it squared: (1 + 4) / (1/2 (4 + 4)) = 5/4.
    retain, forget = [[0.0, 0.0], [2.0, 0.0]], [[1.0, 2.0], [1.0, 6.0]]
    assert entanglement(retain, forget) == 1.25
    assert entanglement(forget, retain) == 1.25
    # Each set counts by its own mean, whatever its size: R three times gives the same.
    assert entanglement(retain * 3, forget) == pytest.approx(1.25)


def test_entanglement_of_one_by_hand() -> None:
    # R as above, phi_f (1, 4): 4 * 1 / 16.
    retain = [[0.0, 0.0], [2.0, 0.0]]
    assert entanglement_of_one(retain, [1.0, 4.0]) == 0.25
    assert entanglement(retain, [[1.0, 4.0]]) == 0.25
    # R collapsed to a point elsewhere.
    assert entanglement_of_one([[1.0, 1.0]], [2.0, 2.0]) == 0.0


def test_entanglement_without_distance() -> None:
    retain = [[0.0, 0.0], [2.0, 0.0]]
    assert math.isnan(entanglement_of_one(retain, [1.0, 0.0]))
    assert math.isnan(entanglement(retain, [[1.0, 0.0]]))
    assert math.isnan(entanglement(retain, [[1.0, 3.0], [1.0, -3.0]]))


@pytest.mark.parametrize("seed", range(5))
def test_entanglements_agree_for_one_sample(seed: int) -> None:
    rng = np.random.default_rng(seed)
    retain, forget = rng.normal(size=(40, 8)) * 3, rng.normal(size=8) + 1
    one = entanglement_of_one(retain, forget)
    assert one == pytest.approx(entanglement(retain, forget[np.newaxis]))
    # Var(R) is the sum of the columns' population variances.
    distance = np.sum((forget - retain.mean(axis=0)) ** 2)
    assert one == pytest.approx(4 * np.sum(np.var(retain, axis=0)) / distance)
