from __future__ import annotations

import csv
import math
import tracemalloc

import numpy as np
import pytest
import scipy.stats

from analysis import statistics
from analysis.statistics import bootstrap_interval, chi_square_p_value, spearman_p_value
from analysis.warehouse import TABLE_1
from tests.oracles import statistics as plain


@pytest.mark.parametrize("n", [3, 4, 10, 250, 1000, 10_000])
def test_p_value_equals_scipys(n: int) -> None:
    random = np.random.default_rng(n)
    for noise in (0.01, 0.5, 3.0, 30.0):
        x = random.normal(size=n)
        rho, p = scipy.stats.spearmanr(x, x + noise * random.normal(size=n))
        if abs(rho) < 1:
            assert spearman_p_value(float(rho), n) == pytest.approx(p, rel=1e-9)


def test_p_value_at_the_ends() -> None:
    for n in (3, 5, 10, 20):
        for rho in (1.0, -1.0):
            assert spearman_p_value(rho, n) == pytest.approx(2 / math.factorial(n))
    assert spearman_p_value(1.0, 10_000) > 0
    assert spearman_p_value(0.9999, 10_000) > 0
    assert spearman_p_value(0.0, 50) == 1.0
    # One degree of freedom: t = 1 / sqrt(3), and the tails of arctan beyond 30 degrees.
    assert math.isclose(spearman_p_value(0.5, 3), 2 / 3)


def follows(rho: float, printed: str) -> bool:
    """Whether a printed p-value belongs to a rho that is printed as this one, with n = 1000."""
    smallest = spearman_p_value(min(1.0, rho + 5e-5), 1000)
    if printed == "0.0":
        return smallest < 1e-300
    mantissa, exponent = printed.split("e")
    half = 0.5 * 10.0 ** (int(exponent) - len(mantissa.partition(".")[2]))
    return smallest - half <= float(printed) <= spearman_p_value(rho - 5e-5, 1000) + half


def test_the_papers_p_values_follow_from_its_rho() -> None:
    """All 108 but one: the p-value of that one belongs to 0.7899, as in the row that repeats it."""
    with TABLE_1.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 108
    odd = [row for row in rows if not follows(abs(float(row["spearman"])), row["p_value"])]
    assert [tuple(row.values()) for row in odd] == [
        ("svhn", "Model Distance - Absolute (DPS)", "ga", "-0.7898", "3.92e-214")
    ]
    assert follows(0.7899, "3.92e-214")


@pytest.mark.parametrize("freedom", [1, 9, 999])
def test_chi_square_equals_scipys(freedom: int) -> None:
    for statistic in (0.0, 0.5 * freedom, 1.5 * freedom, 4.0 * freedom):
        expected = scipy.stats.chi2.sf(statistic, freedom)
        assert chi_square_p_value(statistic, freedom) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("digits", [0, 6])
@pytest.mark.parametrize("n", [2, 3, 40])
def test_bootstrap_equals_resampling_by_hand(n: int, digits: int) -> None:
    random = np.random.default_rng(n)
    x = random.normal(size=n).round(digits)
    y = (x + random.normal(size=n)).round(digits)
    drawn = np.random.default_rng(7).integers(n, size=(200, n))
    rho = plain.bootstrap(x, y, drawn)
    found = bootstrap_interval(x.tolist(), y.tolist(), resamples=200, seed=7)
    if not rho:
        assert found is None
    else:
        assert found == pytest.approx(np.quantile(rho, [0.025, 0.975]), abs=1e-12)


def test_bootstrap_is_seeded_and_near_the_formula() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=300)
    y = x + random.normal(size=300)
    found = bootstrap_interval(x.tolist(), y.tolist(), resamples=2000, seed=3)
    assert found == bootstrap_interval(x.tolist(), y.tolist(), resamples=2000, seed=3)
    assert found != bootstrap_interval(x.tolist(), y.tolist(), resamples=2000, seed=4)
    rho = plain.spearman(x.tolist(), y.tolist())
    assert rho is not None
    assert found == pytest.approx(plain.interval(rho, 300), abs=0.02)


def test_bootstrap_of_infinities_constants_and_too_few() -> None:
    assert bootstrap_interval([], [], 10, 0) is None
    assert bootstrap_interval([1.0], [2.0], 10, 0) is None
    assert bootstrap_interval([1.0] * 5, [1.0, 2, 3, 4, 5], 10, 0) is None
    infinite = bootstrap_interval([math.inf, -math.inf, 0.0, 1.0], [1.0, 2, 3, 4], 50, 0)
    assert infinite is not None
    assert -1 <= infinite[0] <= infinite[1] <= 1


def test_bootstrap_takes_little_memory_and_its_parts_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 1000)).tolist()
    tracemalloc.start()
    whole = bootstrap_interval(x, y, 3000, 0)
    _, largest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert largest < 100e6
    monkeypatch.setattr(statistics, "BLOCK", 7001)
    assert bootstrap_interval(x, y, 3000, 0) == whole
