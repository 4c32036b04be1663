"""Statistics of ranks against scipy, resampling by hand and the oracles."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import statistics
from analysis.statistics import (
    bootstrap_interval,
    exact_p_value,
    jackknife_interval,
    mean_rho_interval,
    spearman_p_value,
)
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


def test_bootstrap_of_infinities_constants_and_too_few() -> None:
    assert bootstrap_interval([], [], 10, 0) is None
    assert bootstrap_interval([1.0], [2.0], 10, 0) is None
    assert bootstrap_interval([1.0] * 5, [1.0, 2, 3, 4, 5], 10, 0) is None
    infinite = bootstrap_interval([math.inf, -math.inf, 0.0, 1.0], [1.0, 2, 3, 4], 50, 0)
    assert infinite is not None
    assert -1 <= infinite[0] <= infinite[1] <= 1


VALUE = st.one_of(st.integers(0, 3).map(float), st.sampled_from([math.inf, -math.inf]))
PAIRS = st.lists(st.tuples(VALUE, VALUE), min_size=2, max_size=6)


def p_value(x: list[float], y: list[float]) -> float | None:
    return exact_p_value(np.array(x), np.array(y))


@given(pairs=PAIRS)
@settings(max_examples=200, deadline=None)
def test_exact_p_value_equals_all_orders(pairs: list[tuple[float, float]]) -> None:
    x, y = ([pair[side] for pair in pairs] for side in (0, 1))
    if plain.spearman(x, y) is None:
        assert p_value(x, y) is None
    else:
        assert p_value(x, y) == pytest.approx(plain.exact_p(x, y), rel=1e-12)


def test_p_value_is_never_zero_and_ones_of_ties_are_no_wonder() -> None:
    up = list(map(float, range(5)))
    assert p_value(up, up) == p_value(up, up[::-1]) == pytest.approx(2 / 120)
    for n in (10, 40, 1000):
        line = list(map(float, range(n)))
        found = p_value(line, line)
        assert found is not None
        assert 0 < found <= max(2 / math.factorial(min(n, 150)) * (1 + 1e-9), 3e-308)
    half = [0.0] * 5 + [1.0] * 5
    assert p_value(half, half) == pytest.approx(2 / math.comb(10, 5))
    odd = [0.0] * 3 + [1.0] * 7  # the other way round cannot be reached
    assert p_value(odd, odd) == pytest.approx(1 / math.comb(10, 3))
    assert p_value([0.0, 1.0] * 6, list(map(float, range(12)))) is None  # more than is counted


@pytest.mark.parametrize("digits", [0, 1, 6])
@pytest.mark.parametrize("n", [5, 12, 60])
def test_interval_equals_derivatives_by_hand(n: int, digits: int) -> None:
    random = np.random.default_rng(n)
    x = random.normal(size=n).round(digits)
    y = (x + random.normal(size=n)).round(digits)
    assert jackknife_interval(x, y) == pytest.approx(plain.jackknife(x, y), abs=1e-6)


def test_the_order_of_the_pairs_changes_nothing_and_too_little_has_no_interval() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 500)).round(1)
    order = np.random.default_rng(2).permutation(500)
    assert jackknife_interval(x, y) == jackknife_interval(x[order], y[order])
    line = np.arange(8.0)
    assert jackknife_interval(line[:3], line[[0, 2, 1]]) is None
    for other in (line, -line, np.ones(8)):
        assert jackknife_interval(line, other) is None
    assert jackknife_interval(np.array([]), np.array([])) is None


def drawn(n: int, resamples: int) -> np.ndarray:
    """The samples of each resample."""
    return np.random.default_rng(statistics.SEED).integers(n, size=(resamples, n))


@pytest.mark.parametrize("digits", [0, 6])
@pytest.mark.parametrize(("count", "n"), [(2, 8), (3, 30)])
def test_few_repeats_equal_resampling_samples_by_hand(
    count: int, n: int, digits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 100)
    random = np.random.default_rng(n)
    gt = (random.normal(size=n) + random.normal(size=(count, n))).round(digits)
    rho = [plain.mean_pairwise(gt[:, row].tolist()) for row in drawn(n, 100)]
    ends = np.quantile([value for value in rho if value is not None], [0.025, 0.975])
    assert mean_rho_interval(gt.tolist()) == pytest.approx(ends, abs=1e-12)


def test_from_four_repeats_on_they_are_drawn_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 60)
    random = np.random.default_rng(3)
    gt = (random.normal(size=12) + random.normal(size=(4, 12))).round(1)
    weights = np.random.default_rng([statistics.SEED, 4]).multinomial(4, [0.25] * 4, size=60)
    found = []
    for row, weight in zip(drawn(12, 60), weights, strict=True):
        chosen = [k for k in range(4) for _ in range(weight[k])]
        rho = [
            scipy.stats.spearmanr(gt[a, row], gt[b, row]).statistic
            for place, a in enumerate(chosen)
            for b in chosen[place + 1 :]
            if a != b
        ]
        found += [np.mean(rho)] if rho else []
    assert mean_rho_interval(gt.tolist()) == pytest.approx(np.quantile(found, [0.025, 0.975]))


def test_no_interval_of_few_repeats() -> None:
    line = list(map(float, range(8)))
    assert mean_rho_interval([line]) == []
    assert mean_rho_interval([line[:7], line[:7]]) == []
    assert mean_rho_interval([line, [0.5] * 8]) == []
    assert mean_rho_interval([line, line]) == pytest.approx([1.0, 1.0])
    assert mean_rho_interval([line, line[::-1]]) == pytest.approx([-1.0, -1.0])
