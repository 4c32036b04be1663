"""Correlations with other targets than GT, and their ceilings, against plain Python and scipy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from analysis.warehouse import Warehouse
from tests.analysis.warehouses import TEST_SAMPLES, Members, member, repeats, warehouse_of
from tests.oracles import statistics as plain

MEASURED = ("z", "relearn_steps", "unlearning_gap")  # targets that are factors
TARGETS = ("gt", "points_lost", "auc", *MEASURED)
FACTORS = ("margin", "x", "test_accuracy", "reference_phi", "relative_gap", *MEASURED)
ENDS = ("flipped", "flipped", "max_steps", "non_finite")  # the last has no GT
BY_CONSTRUCTION = {
    "gt": {"test_prob_diff", "forget_prob_diff"},
    "points_lost": {"test_accuracy"},
    "z": {"reference_phi"},
    "relearn_steps": set(),
    "unlearning_gap": {"relative_gap"},
    "auc": set(),
}


def sweep(n: int = 40) -> Members:
    """Members that end in every way, each without a target or a factor now and then."""
    random = np.random.default_rng(n)
    members = []
    for k in range(n):
        values = {name: float(random.normal()) for name in FACTORS}
        values["test_accuracy"] = float(random.integers(70, 92)) / 100
        values["relearn_steps"] = float(random.integers(0, 5))
        values[FACTORS[k % len(FACTORS)]] = math.nan
        f = float(random.uniform(0.1, 1))
        each = member(k, f, 0.9, ENDS[k % len(ENDS)], "ga", k % 3, **values)
        if k % 5:  # audited twice, of which the one of more models counts
            each["auc"] = {8: float(random.normal()), 16: float(random.normal())}
        members.append(each)
    return members


def measured(each: dict[str, Any], target: str) -> float | None:
    """The target of a member by its metrics, which are what MLflow has."""
    metrics = each["metrics"]
    if target == "gt":
        if each["status"] == "non_finite":
            return None
        u, f = (1 - metrics["test_prob_diff"]) / TEST_SAMPLES, metrics["forget_prob_diff"]
        return float(u * f / (u + f))
    if target == "points_lost":
        after = metrics.get("test_accuracy")
        return None if after is None else 100 * (0.9 - after)
    if target == "auc":
        return float(each["auc"][16]) if "auc" in each else None
    found: float | None = metrics.get(target)
    return found


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with warehouse_of(tmp_path_factory.mktemp("targets"), sweep(), FACTORS) as opened:
        yield opened


@pytest.mark.parametrize("target", TARGETS)
def test_correlations_with_a_target_equal_scipy(warehouse: Warehouse, target: str) -> None:
    every = warehouse.query(f"from correlations_with('{target}')").records()
    assert (every == warehouse.query("from correlations").records()) == (target == "gt")
    assert {row["target"] for row in every} == {target}
    for population in ("all", "flipped", "not_flipped"):
        rows = [row for row in every if row["population"] == population]
        assert_equals_scipy(rows, target, population)


def assert_equals_scipy(rows: Members, target: str, population: str) -> None:
    """The correlations over one population."""
    members = sweep()
    found = {row["factor"]: row for row in rows}
    known = {"gt", "test_prob_diff", "forget_prob_diff", "steps", *FACTORS}
    assert set(found) == known - {target}
    assert {name for name, row in found.items() if row["ingredient"]} == BY_CONSTRUCTION[target]
    chosen = [m for m in members if population in ("all", _flipped(m))]
    for name, row in found.items():
        pairs = [
            (m["metrics"][name], value)
            for m in chosen
            if name in m["metrics"] and (value := measured(m, target)) is not None
        ]
        assert row["n"] == len(pairs)
        x, y = np.array(pairs).T if pairs else ((), ())
        if len(set(x)) < 2:
            said = {"steps": "constant factor", "test_prob_diff": "constant factor"}
            assert (row["rho"], row["undefined"]) == (None, said.get(name, "no values"))
            continue
        rho = scipy.stats.spearmanr(x, y).statistic
        assert row["rho"] == pytest.approx(rho, abs=1e-12), name
        if row["ci_by"] == "bonett-wright":
            assert (row["ci_low"], row["ci_high"]) == pytest.approx(
                plain.interval(row["rho"], len(x))
            )
    counted = [r["p_value"] for r in rows if r["p_value"] is not None and not r["ingredient"]]
    corrected = [r["p_holm"] for r in rows if r["p_holm"] is not None]
    assert corrected == pytest.approx(plain.corrected(counted, "holm"), abs=1e-12)


def _flipped(each: dict[str, Any]) -> str:
    return "flipped" if each["status"] == "flipped" else "not_flipped"


def test_why_there_is_no_rho_names_the_target(tmp_path: Path) -> None:
    members = [member(k, 0.1 * k, 0.9, z=1.0, x=float(k)) for k in range(1, 6)]
    with warehouse_of(tmp_path, members, ("z", "x")) as warehouse:
        query = "select undefined from correlations_with('z') where factor = 'x'"
        assert set(warehouse.query(query).rows) == {("constant z",), ("no values",)}


@pytest.mark.parametrize("count", [2, 4])
def test_each_target_has_its_own_ceiling(tmp_path: Path, count: int) -> None:
    members, random = repeats(1, count, 30, "unlearning seed"), np.random.default_rng(count)
    truth = random.normal(size=30)
    for place, m in enumerate(members):
        k = m["sample_id"]
        m["metrics"]["z"] = truth[k] + 0.4 * random.normal()
        m["metrics"]["test_accuracy"] = round(
            float(0.8 + 0.05 * truth[k] + 0.01 * random.normal()), 2
        )
        if place % 17 != 3:  # the others lack it, and their samples are no pairs
            m["metrics"]["unlearning_gap"] = random.normal()
    with warehouse_of(tmp_path, members, ("test_accuracy", *MEASURED)) as warehouse:
        rows = warehouse.query("from internal.reliability").records()
        ceilings = warehouse.query("from ceilings").records()
        shown = {
            target: warehouse.report(
                "correlate",
                **{"sweep": "s1", "target": target, "population": "all"},
                **{"reading": "set_sizes", "fixed": None},
            ).records()[0]["ceiling_unlearning_seed"]
            for target in TARGETS
        }
        (only,) = warehouse.report("reliability").records()
    found = {row["target"]: row for row in rows}
    assert set(found) == set(TARGETS) - {"relearn_steps", "auc"}
    assert shown == {target: found.get(target, {"ceiling": None})["ceiling"] for target in TARGETS}
    assert only["target"] == "gt"
    for target, row in found.items():
        values = [
            {m["sample_id"]: measured(m, target) for m in members if m["seed"] == seed}
            for seed in range(count)
        ]
        complete = [k for k in range(30) if None not in [own[k] for own in values]]
        table = [[float(own[k] or 0) for k in complete] for own in values]
        assert (row["repeats"], row["n"]) == (count, len(complete))
        mean = plain.mean_pairwise(table)
        assert mean is not None
        assert row["mean_rho"] == pytest.approx(mean, abs=1e-12)
        assert row["icc"] == pytest.approx(plain.icc(table), abs=1e-9)
        assert row["split_half"] == pytest.approx(plain.split_half(table), abs=1e-12)
        ceiling = pytest.approx(math.sqrt(mean)) if mean > 0 else None
        own = [c for c in ceilings if c["target"] == target]
        assert [(c["sweep_id"], c["ceiling"]) for c in own] == [
            (f"s{k}", ceiling) for k in range(count)
        ]
