"""Correlations over repeats, against scipy's interval by t."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from tests.analysis.test_relations import repeats
from tests.analysis.warehouses import warehouse_of

Members = list[dict[str, Any]]


def with_factor(members: Members) -> Members:
    random = np.random.default_rng(len(members))
    for m in members:
        m["metrics"]["x"] = m["metrics"]["forget_prob_diff"] + 2 * random.normal()
    return members


def found_in(folder: Path, members: Members) -> tuple[Members, dict[str, float]]:
    """The rows about x, and each sweep's own rho."""
    with warehouse_of(folder, members, ("x",)) as warehouse:
        query = "from repeated_correlations where factor = 'x' and population = 'all'"
        rows = warehouse.query(query).records()
        own = warehouse.query(
            "select sweep_id, rho from correlations where factor = 'x' and population = 'all'"
        ).rows
    return rows, dict(own)


@pytest.mark.parametrize("varied", ["unlearning seed", "base model seed"])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_interval_is_of_t_over_repeats(tmp_path: Path, varied: str, count: int) -> None:
    rows, own = found_in(tmp_path, with_factor(repeats(count, count, 30, varied)))
    assert {(row["sweep_id"], row["varied"]) for row in rows} == {
        (f"s{k}", varied) for k in range(count)
    }
    z = np.arctanh(list(own.values()))
    low, high = scipy.stats.t.interval(
        0.95, count - 1, loc=z.mean(), scale=z.std(ddof=1) / math.sqrt(count)
    )
    for row in rows:
        assert (row["repeats"], row["n"]) == (count, 30)
        assert row["mean_rho"] == pytest.approx(math.tanh(z.mean()), abs=1e-12)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(
            (math.tanh(low), math.tanh(high)), abs=1e-12
        )


def test_both_sources_have_their_own(tmp_path: Path) -> None:
    members = repeats(0, 3, 20, "unlearning seed")
    for base in (1, 2, 3):
        of_base = repeats(base, 1, 20, "base model seed")
        where = {"sweep": f"t{base}", "base": f"b{base}", "base_seed": base}
        members += [m | where for m in of_base]
    rows, _ = found_in(tmp_path, with_factor(members))
    of_first = {row["varied"]: row["repeats"] for row in rows if row["sweep_id"] == "s0"}
    assert of_first == {"unlearning seed": 3, "base model seed": 4}
    assert [row["varied"] for row in rows if row["sweep_id"] == "s1"] == ["unlearning seed"]
    assert [row["varied"] for row in rows if row["sweep_id"] == "t1"] == ["base model seed"]


def test_repeats_that_are_all_the_same_have_no_interval(tmp_path: Path) -> None:
    one = with_factor(repeats(0, 1, 20, "unlearning seed"))
    members = [m | {"sweep": f"s{k}", "seed": k} for k in range(3) for m in one]
    rows, _ = found_in(tmp_path, members)
    assert {(row["repeats"], row["ci_low"], row["ci_high"]) for row in rows} == {(3, None, None)}


def test_no_repeats_no_rows(tmp_path: Path) -> None:
    members = with_factor(repeats(0, 2, 20, "unlearning seed"))
    other = [m | {"lr": 0.2} if m["seed"] else m for m in members]
    assert found_in(tmp_path, other)[0] == []
    fewer = [m | {"remaining": 50} if m["seed"] else m for m in members]
    assert found_in(tmp_path, fewer)[0] == []
    twice = [m | {"seed": 0} for m in members]  # two sweeps of the same seed are one repeat
    assert found_in(tmp_path, twice)[0] == []


@pytest.mark.parametrize(("count", "is_shown"), [(2, False), (3, True)])
def test_the_page_shows_it_from_three_on(tmp_path: Path, count: int, is_shown: bool) -> None:
    members = with_factor(repeats(count, count, 30, "unlearning seed"))
    with warehouse_of(tmp_path, members, ("x",)) as warehouse:
        rows = warehouse.report("heat_map", sweep="s0", population="all").records()
    (row,) = [row for row in rows if row["factor"] == "x"]
    assert (row["repeats_low"] is not None) == is_shown
