"""The interval by jackknife: against derivatives by hand, and its coverage where regimes mix."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.jackknife import jackknife_interval
from tests.analysis.warehouses import member, warehouse_of
from tests.oracles import statistics as plain

Floats = np.ndarray


@pytest.mark.parametrize("digits", [0, 1, 6])
@pytest.mark.parametrize("n", [5, 12, 60])
def test_interval_equals_derivatives_by_hand(n: int, digits: int) -> None:
    random = np.random.default_rng(n)
    x = random.normal(size=n).round(digits)
    y = (x + random.normal(size=n)).round(digits)
    assert jackknife_interval(x, y) == pytest.approx(plain.jackknife(x, y), abs=1e-6)


def test_the_order_of_the_pairs_changes_nothing() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(2, 500)).round(1)
    order = random.permutation(500)
    assert jackknife_interval(x, y) == jackknife_interval(x[order], y[order])


def test_no_interval_of_too_little() -> None:
    line = np.arange(8.0)
    assert jackknife_interval(line[:3], line[[0, 2, 1]]) is None
    assert jackknife_interval(line, line) is None
    assert jackknife_interval(line, -line) is None
    assert jackknife_interval(line, np.ones(8)) is None
    assert jackknife_interval(np.array([]), np.array([])) is None


# Coverage


def mixture(random: np.random.Generator, n: int, case: tuple[float, ...]) -> tuple[Floats, Floats]:
    """A factor and GT: of the share that flipped one correlation and one level, of the others
    another."""
    share, of_flipped, of_others, apart, factor_apart = case
    flipped = random.random(n) < share
    r = np.where(flipped, of_flipped, of_others)
    x, noise = random.normal(size=(2, n))
    return x + factor_apart * flipped, r * x + np.sqrt(1 - r * r) * noise + apart * flipped


def rho_of(x: Floats, y: Floats) -> float:
    ranks = [side.argsort().argsort() for side in (x, y)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def coverage(n: int, case: tuple[float, ...], trials: int) -> tuple[float, float]:
    """The shares of intervals that hold the true rho: of the jackknife, and of the formula."""
    random = np.random.default_rng(n)
    truth = rho_of(*mixture(random, 1_000_000, case))
    inside = np.zeros(2)
    for _ in range(trials):
        x, y = mixture(random, n, case)
        for k, ends in enumerate((jackknife_interval(x, y), plain.interval(rho_of(x, y), n))):
            assert ends is not None
            inside[k] += ends[0] <= truth <= ends[1]
    of_ours, of_formula = (inside / trials).tolist()
    return of_ours, of_formula


CASES = [  # share that flipped, rho of these and of the others, distance of GT and of the factor
    (0.1, 0.0, 0.0, 3.0, 1.0),
    (0.1, 0.9, -0.9, 3.0, 1.0),
    (0.5, 0.5, 0.5, 3.0, 0.0),
    (0.5, 0.9, -0.9, 0.0, 0.0),
    (0.5, 0.9, 0.0, 3.0, 1.0),
    (0.9, 0.6, -0.3, 3.0, 0.0),
    (0.9, 0.9, 0.9, 3.0, 0.0),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("n", [100, pytest.param(400, marks=pytest.mark.slow)])
def test_coverage_where_regimes_mix(n: int, case: tuple[float, ...]) -> None:
    """93% to 97%, within three standard errors of so many trials."""
    trials = 400
    found, _ = coverage(n, case, trials)
    slack = 3 * math.sqrt(0.95 * 0.05 / trials)
    assert 0.93 - slack <= found <= min(1.0, 0.97 + slack)


def test_the_formula_is_too_narrow_where_regimes_mix() -> None:
    ours, formula = coverage(400, (0.1, 0.9, -0.9, 3.0, 1.0), 400)
    assert formula < 0.87
    assert ours > 0.92


# In the warehouse


def members_of(n: int, flipped: int) -> list[dict[str, Any]]:
    """Members of which so many flipped, whose GT then follows the factor the other way."""
    random = np.random.default_rng(n)
    x = random.normal(size=n)
    rise = np.where(np.arange(n) < flipped, 0.1, -0.1) * x + 0.05 * random.normal(size=n)
    return [
        member(
            k, 0.5 + float(rise[k]), 0.9, "flipped" if k < flipped else "max_steps", x=float(x[k])
        )
        for k in range(n)
    ]


@pytest.mark.parametrize("flipped", [0, 4, 5, 50, 95, 96, 100])
def test_mixed_members_have_the_interval_by_jackknife(tmp_path: Path, flipped: int) -> None:
    by = "jackknife" if 5 <= flipped <= 95 else "bonett-wright"
    with warehouse_of(tmp_path, members_of(100, flipped), ("x",)) as warehouse:
        rows = warehouse.query("from correlations where factor = 'x'").records()
        outcomes = warehouse.query("select gt from outcomes order by sample_id").rows
    gt = [row[0] for row in outcomes]
    x = [m["metrics"]["x"] for m in members_of(100, flipped)]
    found = {row["population"]: row for row in rows}
    assert found["all"]["flipped"] == flipped
    assert found["all"]["ci_by"] == by
    ends = found["all"]["ci_low"], found["all"]["ci_high"]
    rho = found["all"]["rho"]
    expected = plain.jackknife(x, gt) if by == "jackknife" else plain.interval(rho, 100)
    assert ends == pytest.approx(expected, abs=1e-6)
    for population in ("flipped", "not_flipped"):
        row = found[population]
        assert row["ci_by"] == ("bonett-wright" if row["n"] > 3 else None)
