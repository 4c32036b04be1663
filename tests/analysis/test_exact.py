"""Exact p-values against all orders one by one, and what they are for in the warehouse."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.exact import exact_p_value
from tests.analysis.warehouses import member, warehouse_of
from tests.oracles import statistics as plain

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


@pytest.mark.parametrize("digits", [0, 6])
def test_exact_p_value_of_nine(digits: int) -> None:
    random = np.random.default_rng(9)
    x = random.normal(size=9).round(digits).tolist()
    y = (np.array(x) + random.normal(size=9)).round(digits).tolist()
    assert p_value(x, y) == pytest.approx(plain.exact_p(x, y), rel=1e-12)


def test_exact_p_value_equals_scipys() -> None:
    x, y = [3.0, 1, 4, 1, 5, 9, 2], [2.0, 7, 1, 8, 2, 8, 1]

    def size(order: np.ndarray) -> float:
        return abs(float(scipy.stats.spearmanr(order, y).statistic))

    found = scipy.stats.permutation_test(
        (x,), size, permutation_type="pairings", n_resamples=math.inf, alternative="greater"
    )
    assert p_value(x, y) == pytest.approx(found.pvalue)


def test_p_value_is_never_zero() -> None:
    up = list(map(float, range(5)))
    assert p_value(up, up) == p_value(up, up[::-1]) == pytest.approx(2 / 120)
    for n in (10, 40, 1000):
        line = list(map(float, range(n)))
        found = p_value(line, line)
        assert found is not None
        assert 0 < found <= max(2 / math.factorial(min(n, 150)) * (1 + 1e-9), 3e-308)


def test_ones_of_ties_are_no_wonder() -> None:
    half = [0.0] * 5 + [1.0] * 5
    assert p_value(half, half) == pytest.approx(2 / math.comb(10, 5))
    odd = [0.0] * 3 + [1.0] * 7  # the other way round cannot be reached
    assert p_value(odd, odd) == pytest.approx(1 / math.comb(10, 3))
    assert p_value([0.0, 1.0] * 6, list(map(float, range(12)))) is None  # more than is counted


# In the warehouse


@pytest.mark.parametrize("n", [5, 9, 10])
def test_few_members_have_an_exact_p_value(tmp_path: Path, n: int) -> None:
    random = np.random.default_rng(n)
    members = [
        member(k, f=0.1 + k / 20, u=0.9, algorithm=name, up=float(k), noise=float(noise))
        for name in ("ga", "salun")
        for k, noise in enumerate(random.integers(0, 4, n))
    ]
    with warehouse_of(tmp_path, members, ("up", "noise")) as warehouse:
        rows = warehouse.query("from correlations where population = 'all'").records()
        agreed = warehouse.query("from agreement").records()
    found = {(row["algorithm"], row["factor"]): row for row in rows}
    for algorithm in ("ga", "salun"):
        values = [m["metrics"] for m in members if m["algorithm"] == algorithm]
        gt = [m["forget_prob_diff"] for m in values]
        row = found[algorithm, "noise"]
        expected = plain.p_value([m["noise"] for m in values], gt)
        assert row["p_value"] == pytest.approx(expected, rel=1e-9)
        row = found[algorithm, "up"]
        assert row["rho"] == 1
        assert row["p_value"] == pytest.approx(2 / math.factorial(n))
        assert row["ci_low"] < row["ci_high"] == 1
    assert agreed[0]["p_value"] == pytest.approx(2 / math.factorial(n))


@pytest.mark.parametrize("n", [4, 5, 9, 40, 12_000])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_interval_of_one_is_no_point(tmp_path: Path, n: int, side: int) -> None:
    with warehouse_of(tmp_path, []) as warehouse:
        ask = f"select interval_end({side}::double, {n}, -1), interval_end({side}::double, {n}, 1)"
        ((low, high),) = warehouse.query(ask).rows
    assert (low, high) == pytest.approx(plain.interval(float(side), n), abs=1e-12)
    inner = -low if side < 0 else high
    outer = -high if side < 0 else low
    assert inner == 1
    assert outer < 1 - 12 / (n**3 - n)


def test_five_members_are_not_significant(tmp_path: Path) -> None:
    """Today's stars: with five members the smallest p is 2 / 120, before any correction."""
    random = np.random.default_rng(5)
    names = [f"x{k}" for k in range(12)]
    members = [member(k, f=0.1 + k / 20, u=0.9) for k in range(5)]
    for name in names:
        for m, value in zip(members, random.permutation(5).tolist(), strict=True):
            m["metrics"][name] = float(value)
    for m in members:
        m["metrics"]["x0"] = m["metrics"]["forget_prob_diff"]
    with warehouse_of(tmp_path, members, names) as warehouse:
        rows = warehouse.query("from correlations where not ingredient").records()
    defined = [row for row in rows if row["p_value"] is not None]
    assert defined
    assert all(row["p_value"] >= 2 / 120 - 1e-15 for row in defined)
    assert all(row["p_holm"] > 0.05 for row in defined)
