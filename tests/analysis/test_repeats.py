"""Repeats of a design: which count, how far they agree, and correlations over them, against the
oracles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from analysis.statistics import mean_rho_interval
from analysis.warehouse import open_warehouse, rebuild
from tests.analysis.warehouses import Members, records, repeats, staging, sweep_of, warehouse_of
from tests.oracles import statistics as plain

KINDS = ["unlearning seed", "base model seed"]


def test_designs_are_of_what_repeats_share(tmp_path: Path) -> None:
    members = sweep_of(0, 3)
    other_seed = [m | {"sweep": "seed", "seed": 1} for m in members]
    other_base = [m | {"sweep": "base", "base": "c", "base_seed": 5} for m in members]
    rows = records(tmp_path, [*members, *other_seed, *other_base], "from internal.designs")
    by_design: dict[tuple[str, str, object], set[tuple[str, int]]] = {}
    for row in rows:
        fixed = row["seed"] if row["varied"] == "base model seed" else row["base_run_id"]
        key = (row["varied"], row["algorithm"], fixed)
        by_design.setdefault(key, set()).add((row["sweep_id"], row["repeat_seed"]))
    assert by_design == {
        key: sweeps
        for name in ("ga", "salun")
        for key, sweeps in {
            ("unlearning seed", name, "b"): {("s", 0), ("seed", 1)},
            ("unlearning seed", name, "c"): {("base", 0)},
            ("base model seed", name, 0): {("s", 0), ("base", 5)},
            ("base model seed", name, 1): {("seed", 0)},
        }.items()
    }
    assert {row["design"] for row in rows} == set(range(1, len(by_design) + 1))
    assert all((row["seed"] is None) != (row["base_run_id"] is None) for row in rows)


def table_of(rows: list[dict[str, Any]], count: int) -> list[list[float]]:
    """GT by repeat from outcomes in order."""
    return [[row["gt"] for row in rows if row["sweep_id"] == f"s{k}"] for k in range(count)]


@pytest.mark.parametrize(
    ("what", "count", "n"),
    [("unlearning seed", 2, 3), ("unlearning seed", 5, 12), ("base model seed", 4, 25)],
)
def test_reliability_equals_the_oracles(tmp_path: Path, what: str, count: int, n: int) -> None:
    members = repeats(count + n, count, n, what)
    with warehouse_of(tmp_path, members) as warehouse:
        (row,) = warehouse.query("from internal.reliability").records()
        gt = table_of(
            warehouse.query("from attempts order by sweep_id, sample_id").records(), count
        )
        ceilings = warehouse.query("from ceilings").records()
        shown = warehouse.report(
            "correlate",
            **{"sweep": "s0", "target": "gt", "population": "all"},
            **{"reading": "set_sizes", "fixed": None},
        ).records()
    assert (row["varied"], row["repeats"], row["n"]) == (what, count, n)
    assert (row["algorithm"], row["settings"]) == ("ga", {"lr": "0.1"})
    assert row["base_run_id"] == ("b" if what == "unlearning seed" else None)
    mean = plain.mean_pairwise(gt)
    assert mean is not None
    assert row["mean_rho"] == pytest.approx(mean, abs=1e-12)
    stepped = count * mean / (1 + (count - 1) * mean)
    assert row["spearman_brown"] == pytest.approx(stepped, abs=1e-12)
    assert row["split_half"] == pytest.approx(plain.split_half(gt), abs=1e-12)
    assert row["icc"] == pytest.approx(plain.icc(gt), abs=1e-12)
    ceiling = math.sqrt(mean) if mean > 0 else None
    assert row["ceiling"] == pytest.approx(ceiling, abs=1e-12)
    assert [(c["sweep_id"], c["ceiling"]) for c in ceilings] == [
        (f"s{k}", row["ceiling"]) for k in range(count)
    ]
    column = f"ceiling_{what.replace(' ', '_')}"
    assert {r[column] for r in shown} == {row["ceiling"]}
    low, high = mean_rho_interval(gt) or (None, None)
    assert (row["mean_rho_low"], row["mean_rho_high"]) == (low, high)
    ends = [None if end is None else pytest.approx(math.sqrt(max(end, 0))) for end in (low, high)]
    assert [row["ceiling_low"], row["ceiling_high"]] == ends
    for name in ("mean_rho_low", "mean_rho_high", "ceiling_low", "ceiling_high"):
        assert {c[name] for c in ceilings} == {row[name]}


@pytest.mark.parametrize(("count", "n"), [(2, 3), (3, 40)])
def test_base_correlations_are_of_means_over_repeats(tmp_path: Path, count: int, n: int) -> None:
    random = np.random.default_rng(n)
    members = repeats(count + n, count, n, "unlearning seed")
    for m in members:
        m["status"] = str(random.choice(["flipped", "flipped", "flipped", "max_steps"]))
        m["metrics"]["smooth"] = m["metrics"]["forget_prob_diff"] + random.normal()
    del members[0]["metrics"]["smooth"]  # of one repeat: the sample has no mean
    with warehouse_of(tmp_path, members, ("smooth",)) as warehouse:
        found = warehouse.query("from internal.base_correlations where factor = 'smooth'").records()
        gt = warehouse.query("from attempts order by sweep_id, sample_id").records()
        (reliability,) = warehouse.query("from internal.reliability").records()
        shown = warehouse.report("heat_map_repeats", sweep="s1").records()
    mean_gt = np.array(table_of(gt, count)).mean(0)
    values = np.array([m["metrics"].get("smooth", math.nan) for m in members]).reshape(count, n)
    flipped = np.array([m["status"] == "flipped" for m in members]).reshape(count, n)
    assert [row["population"] for row in found] == ["all", "flipped"]
    for row, chosen in zip(found, (np.full(n, True), flipped.all(0)), strict=True):
        both = chosen & ~np.isnan(values.mean(0))
        x, y = values.mean(0)[both], mean_gt[both].round(15)
        assert (row["base_run_id"], row["repeats"], row["n"]) == ("b", count, both.sum())
        rho = plain.spearman(x.tolist(), y.tolist())
        assert row["rho"] == pytest.approx(rho, abs=1e-12)
        ends = (row["ci_low"], row["ci_high"])
        expected = None if rho is None else plain.interval(rho, int(both.sum()))
        if row["ci_by"] == "jackknife":
            expected = plain.jackknife(x.tolist(), y.tolist())
        assert (row["ci_by"] == "jackknife") == (n == 40 and row["population"] == "all")
        assert ends == ((None, None) if expected is None else pytest.approx(expected, abs=1e-6))
    stepped = reliability["spearman_brown"]
    assert found[0]["ceiling"] == (math.sqrt(stepped) if stepped > 0 else None)
    assert found[1]["ceiling"] is None
    assert {(r["factor"], r["mean_rho"]) for r in shown} >= {("smooth", found[0]["rho"])}


def test_a_member_of_two_sweeps_counts_once(tmp_path: Path) -> None:
    tables = staging(repeats(0, 2, 6, "unlearning seed"), ())
    again = [{"run_id": "s1", "key": key} for key in tables["plans"]["key"].to_pylist()[:6]]
    more = pa.Table.from_pylist(again, schema=tables["plans"].schema)
    tables["plans"] = pa.concat_tables([tables["plans"], more])
    rebuild(tmp_path / "w.duckdb", tables)
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        (row,) = warehouse.query("from internal.reliability").records()
    assert (row["repeats"], row["n"]) == (2, 6)


# Which repeats count


def design(count: int, n: int, what: str = "unlearning seed") -> Members:
    """Repeats of n samples under the seeds from 0 on, with a factor `x`."""
    members = repeats(count + n, count, n, what)
    random = np.random.default_rng(n)
    for m in members:
        m["metrics"]["x"] = m["metrics"]["forget_prob_diff"] + random.normal()
    return members


def later(members: Members, seed: int, samples: Sequence[int], what: str = KINDS[0]) -> Members:
    """One more repeat: the first members, of other samples."""
    where = {"sweep": f"s{seed}", "seed": seed}
    if what == "base model seed":
        where = {"sweep": f"s{seed}", "base": f"b{seed}", "base_seed": seed}
    of_first = [m for m in members if m["sweep"] == members[0]["sweep"]]
    return [m | where | {"sample_id": k} for m, k in zip(of_first, samples, strict=False)]


def measured(folder: Path, members: Members) -> dict[str, Members]:
    """The rows of the relations over repeats, and the seeds that each design took.

    The designs' own numbers are left out: they depend on which others there are.
    """
    asked = {
        "seeds": "select distinct varied, repeats, repeat, repeat_seed as seed "
        "from internal.repeats where repeats > 1 order by all",
        "reliability": "select * exclude (design) from internal.reliability",
        "base_correlations": "select * exclude (design) from internal.base_correlations",
    }
    with warehouse_of(folder, members, ("x",)) as warehouse:
        return {name: warehouse.query(query).records() for name, query in asked.items()}


def seeds(found: dict[str, Members]) -> list[int]:
    """The seeds of the only design that is repeated, whose repeats are numbered from 1 on."""
    assert [row["repeat"] for row in found["seeds"]] == list(range(1, len(found["seeds"]) + 1))
    assert {row["repeats"] for row in found["seeds"]} <= {len(found["seeds"])}
    return [row["seed"] for row in found["seeds"]]


@pytest.mark.parametrize(
    ("what", "others"),
    [(KINDS[0], [7]), (KINDS[0], range(20)), (KINDS[1], [7])],
    ids=["one of them", "half of them", "of base models"],
)
def test_a_later_sweep_of_other_samples_takes_nothing_away(
    tmp_path: Path, what: str, others: Sequence[int]
) -> None:
    members = design(3, 40, what)
    alone = measured(tmp_path, members)
    (row,) = alone["reliability"]
    assert (row["varied"], row["repeats"], row["n"]) == (what, 3, 40)
    assert None not in (row["mean_rho"], row["ceiling_low"], row["split_half"], row["icc"])
    found = measured(tmp_path, [*members, *later(members, 9, others, what)])
    assert found == alone
    assert seeds(found) == [0, 1, 2]


@pytest.mark.parametrize(
    ("lacking", "taken", "n"),
    [
        (19, [0, 1, 2], 21),  # all three share the 21: worth 42, the two of 40 are worth 40
        (20, [0, 2], 40),  # worth the same, of more samples
    ],
)
def test_a_repeat_that_lacks_some_counts_while_it_is_worth_it(
    tmp_path: Path, lacking: int, taken: list[int], n: int
) -> None:
    members = design(3, 40)
    fewer = [m for m in members if m["sweep"] != "s1" or m["sample_id"] >= lacking]
    found = measured(tmp_path, fewer)
    assert [(r["repeats"], r["n"]) for r in found["reliability"]] == [(len(taken), n)]
    assert seeds(found) == taken
    means = {(r["repeats"], r["n"]) for r in found["base_correlations"] if r["population"] == "all"}
    assert means == {(len(taken), n)}


def with_factor(members: Members) -> Members:
    random = np.random.default_rng(len(members))
    for m in members:
        m["metrics"]["x"] = m["metrics"]["forget_prob_diff"] + 2 * random.normal()
    return members


def found_in(folder: Path, members: Members) -> tuple[Members, dict[str, float]]:
    """The rows about x, and each sweep's own rho."""
    with warehouse_of(folder, members, ("x",)) as warehouse:
        query = "from internal.repeated_correlations where factor = 'x' and population = 'all'"
        rows = warehouse.query(query).records()
        own = warehouse.query(
            "select sweep_id, rho from correlations where factor = 'x' and population = 'all'"
        ).rows
    return rows, dict(own)


@pytest.mark.parametrize(("varied", "count"), [("unlearning seed", 2), ("base model seed", 6)])
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


def test_no_repeats_no_rows(tmp_path: Path) -> None:
    members = with_factor(repeats(0, 2, 20, "unlearning seed"))
    other = [m | {"lr": 0.2} if m["seed"] else m for m in members]
    assert found_in(tmp_path, other)[0] == []
    fewer = [m | {"remaining": 50} if m["seed"] else m for m in members]
    assert found_in(tmp_path, fewer)[0] == []
    twice = [m | {"seed": 0} for m in members]  # two sweeps of the same seed are one repeat
    assert found_in(tmp_path, twice)[0] == []
    same = [m | {"sweep": f"s{k}", "seed": k} for k in range(3) for m in members[:20]]
    rows = found_in(tmp_path, same)[0]
    assert {(row["repeats"], row["ci_low"], row["ci_high"]) for row in rows} == {(3, None, None)}
