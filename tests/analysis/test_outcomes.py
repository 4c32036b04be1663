"""What GT is made of: its regimes, its share of lambda, and the samples that are tied in it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.warehouse import Warehouse
from tests.analysis.warehouses import TEST_SAMPLES, member, warehouse_of

LAMBDA = 1 / TEST_SAMPLES


def falls(*f: float, **same: Any) -> list[dict[str, Any]]:
    """Members that differ in F."""
    return [member(k, f=fall, u=0.5, **same) for k, fall in enumerate(f)]


def outcomes(warehouse: Warehouse) -> list[dict[str, Any]]:
    return warehouse.query("from outcomes order by algorithm, sample_id").records()


# Regimes


def test_regimes_by_hand(tmp_path: Path) -> None:
    """Lambda is 1/100."""
    members = [
        member(0, f=0.5, u=0.5),  # lambda U = .005 < F
        member(1, f=0.002, u=0.5),  # F < lambda U
        member(2, f=2**-8, u=100 * 2**-8),  # equal but for rounding: in either
        member(3, f=-0.5, u=0.5),
        member(4, f=0.0, u=0.5),
        member(5, f=0.5, u=-0.1),
        member(6, f=0.5, u=0.5, status="non_finite"),
        member(7, f=math.nan, u=math.nan, status="already_wrong"),
        member(8, f=0.9, u=1.25),  # the test set gained
    ]
    with warehouse_of(tmp_path, members) as warehouse:
        rows = outcomes(warehouse)
    assert [row["regime"] for row in rows if row["sample_id"] != 2] == [
        *("utility", "forgetting"),
        *[None] * 5,
        "utility",
    ]
    shares = [0.25 / 0.505, 0.001 / 0.007, rows[2]["u"] / 2, 0.0, 0.0, 0.0]
    assert [row["gt_share"] for row in rows[:6]] == pytest.approx(shares, rel=1e-9)
    assert [row["gt_share"] for row in rows[6:8]] == [None, None]
    assert rows[8]["gt_share"] == pytest.approx(1.125 / 0.9125)
    assert rows[8]["gt_share"] > 1


# Ties


def test_ties_are_counted_and_zeros_placed_by_how_far_they_fell(tmp_path: Path) -> None:
    members = falls(-0.1, 0.4, -0.5, -0.5, 0.4, -0.2, 0.2)
    with warehouse_of(tmp_path, members) as warehouse:
        rows = warehouse.query("from difficulty order by sample_id").records()
    assert [row["tied"] for row in rows] == [3, 1, 3, 3, 1, 3, 0]
    assert [row["difficulty_rank"] for row in rows] == [1, 6, 1, 1, 6, 1, 5]
    assert [row["average_rank"] for row in rows] == [2.5, 6.5, 2.5, 2.5, 6.5, 2.5, 5.0]
    assert [row["place"] for row in rows] == [4, 6, 1, 1, 6, 3, 5]
    assert [row["ordered_by"] for row in rows] == ["f", "gt", "f", "f", "gt", "f", "gt"]


def test_places_equal_a_plain_loop(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    members = [
        member(k, f=float(random.integers(-6, 5)) / 10, u=0.5, algorithm=algorithm)
        for algorithm in ("ga", "scrub")
        for k in range(60)
    ]
    with warehouse_of(tmp_path, members) as warehouse:
        rows = warehouse.query("from difficulty order by algorithm, sample_id").records()
        by_key = {(r["algorithm"], r["sample_id"]): r for r in outcomes(warehouse)}
    for row in rows:
        others = [by_key[key] for key in by_key if key[0] == row["algorithm"]]
        own = by_key[row["algorithm"], row["sample_id"]]
        assert row["tied"] == sum(o["gt"] == own["gt"] for o in others) - 1
        harder = [
            o
            for o in others
            if o["gt"] < own["gt"] or (o["gt"] == own["gt"] == 0 and o["f"] < own["f"])
        ]
        assert row["place"] == len(harder) + 1


def test_over_all_algorithms_the_same_percentiles_in_another_order_are_a_tie(
    tmp_path: Path,
) -> None:
    """Three thirds added in another order differ in their last bit."""
    falls_of = {"a": (0.1, 0.2, 0.3), "b": (0.2, 0.3, 0.1), "c": (0.3, 0.1, 0.2)}
    members = [
        member(k, f=f, u=0.5, algorithm=name)
        for name, column in falls_of.items()
        for k, f in enumerate(column)
    ]
    with warehouse_of(tmp_path, members) as warehouse:
        rows = warehouse.report("rank_overall", sweep="s", easiest=False, top=2).records()
    assert [(row["sample_id"], row["tied"]) for row in rows] == [(0, 2)] * 3 + [(1, 2)] * 3
