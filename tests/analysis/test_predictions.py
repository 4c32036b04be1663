"""Predictions against attempts: what is graded, what is refused, every score by an oracle, and what
it cost to know; on the page and in figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import brier_score_loss

from analysis.answers import ask
from analysis.figures import write_figures
from analysis.pictures import Pictures
from analysis.warehouse import BOUNDED, FORECAST, STAGING, Warehouse, open_warehouse, rebuild
from analysis.words import plain as without_sign
from analysis.words import signed
from tests.analysis.test_report import page
from tests.analysis.warehouses import Members, member, repeats, staging
from tests.oracles import statistics as plain

Rows = Members

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).replace(tzinfo=None)
NOTHING: Rows = []
HARDER = {"gt": 1, "steps": -1, "prob_lost": -1, "points_lost": -1}


@contextmanager
def warehouse_of(
    folder: Path,
    members: Members,
    predictions: Mapping[str, Rows],
    calibrated_on: Mapping[str, Sequence[str]] | None = None,
    made: Mapping[str, datetime] | None = None,
    factors: Sequence[str] = (),
    costs: Rows = NOTHING,
) -> Iterator[Warehouse]:
    """A warehouse with predictions, by the id of their run.

    Attempts begin at noon, or at `began`; predictions are made a minute before, or at `made`. Those
    with `ga` have no chance in them.
    `costs` are rows of the base model `b`.
    """
    staged = staging(members, ("test_accuracy", *factors))
    tables = {name: table.to_pylist() for name, table in staged.items()}
    tables["costs"] = [{"run_id": "b", "at": 0, **row} for row in costs]
    began = {f"m{number}": m.get("began", NOON) for number, m in enumerate(members)}
    for run in tables["runs"]:
        run["start_time"] = began.get(run["run_id"])
    for run_id, rows in predictions.items():
        end = (made or {}).get(run_id, NOON - timedelta(minutes=1))
        own = {"run_id": run_id, "name": run_id, "experiment": "e", "kind": "prediction"}
        tables["runs"].append(own | {"status": "FINISHED", "end_time": end})
        params = {"base_run_id": "b", "without_chance": "ga,influence"}
        tables["params"] += [{"run_id": run_id, "key": k, "value": v} for k, v in params.items()]
        tables["predictions"] += [{"run_id": run_id, **row} for row in rows]
        keys = (calibrated_on or {}).get(run_id, ())
        tables["calibrations"] += [{"run_id": run_id, "key": key} for key in keys]
    rebuild(
        folder / "w.duckdb",
        {n: pa.Table.from_pylist(tables[n], schema=schema) for n, schema in STAGING.items()},
    )
    with open_warehouse(folder / "w.duckdb") as warehouse:
        yield warehouse


def predicted(number: int, m: dict[str, Any], **values: float | None) -> dict[str, Any]:
    """A row of a prediction about the member of that number."""
    return {
        "algorithm": m["algorithm"],
        "key": f"k{number}",
        "sample_id": m["sample_id"],
        "label": m["label"],
        **dict.fromkeys((*FORECAST, *(f"{n}_{end}" for n in BOUNDED for end in ("low", "high")))),
        **values,
    }


def attempts(n: int, seed: int, flips: float = 0.7) -> Members:
    """Members with ties, some without a GT, and a test accuracy."""
    random = np.random.default_rng(seed)
    states = ("flipped", "max_steps", "rewound", "already_wrong")
    chances = (flips, 0.8 - flips, 0.1, 0.1)
    return [
        member(
            sample,
            f=float(random.integers(1, 9)) / 10,
            u=float(np.round(1 - random.exponential(0.05), 3)),
            status=str(random.choice(states, p=chances)),
            steps=float(random.integers(1, 20)),
            test_accuracy=float(np.round(0.9 - random.exponential(0.02), 3)),
        )
        for sample in range(n)
    ]


def about(members: Members, seed: int) -> Rows:
    """Noisy predictions of these, some of them undefined, half of them with intervals."""
    random = np.random.default_rng(seed)
    rows = []
    for number, m in enumerate(members):
        true = measured(m)
        values: dict[str, float | None] = {
            name: None if random.random() < 0.1 else float(np.round(v + random.normal() * v, 3))
            for name, v in true.items()
        }
        values["gt"] = None if values["gt"] is None else values["gt"] + random.random() / 1000
        values["flips"] = float(random.integers(0, 11)) / 10
        for name in BOUNDED if number % 2 else ():
            low = true[name] + random.normal() * 0.01
            values |= {f"{name}_low": low, f"{name}_high": low + 0.02}
        rows.append(predicted(number, m, **values))
    return rows


def measured(m: dict[str, Any]) -> dict[str, float]:
    """What an attempt came to, by target, from its metrics."""
    metrics = m["metrics"]
    u, f, lam = 1 - metrics["test_prob_diff"], metrics["forget_prob_diff"], 1 / 100
    return {
        "gt": lam * u * f / (lam * u + f) if u > 0 and f > 0 else 0.0,
        "steps": metrics["steps"],
        "prob_lost": 1 - u,
        "points_lost": 100 * (0.9 - metrics["test_accuracy"]),
    }


def pairs_of(members: Members, rows: Rows, target: str) -> list[tuple[float, float, int]]:
    """Predicted and measured values of a target where both are there, with the member's number."""
    return [
        (row[target], measured(m)[target], m["sample_id"])
        for row, m in zip(rows, members, strict=True)
        if m["status"] != "already_wrong" and row[target] is not None
    ]


def precision(x: Sequence[float], y: Sequence[float], share: float) -> float:
    """The share of the k lowest x that are among the k lowest y, ties sharing places."""
    k = max(1, math.floor(len(x) * share + 0.5))

    def place(values: Sequence[float], value: float) -> float:
        below, equal = sum(v < value for v in values), sum(v == value for v in values)
        return min(1.0, max(0.0, (k - below) / equal))

    return sum(place(x, a) * place(y, b) for a, b in zip(x, y, strict=True)) / k


@pytest.mark.slow
@pytest.mark.parametrize(("n", "flips"), [(5, 0.4), (240, 0.8), (240, 0.02)])
def test_scores_equal_the_oracles(tmp_path: Path, n: int, flips: float) -> None:
    members = attempts(n, n, flips)
    rows = about(members, n)
    with warehouse_of(tmp_path, members, {"p": rows}) as warehouse:
        found = {r["target"]: r for r in warehouse.query("from prediction_scores").records()}
    assert list(found) == [*HARDER, "flips"]
    for target, sign in HARDER.items():
        pairs = pairs_of(members, rows, target)
        x, y = [a for a, _, _ in pairs], [b for _, b, _ in pairs]
        row = found[target]
        assert row["n"] == len(pairs)
        assert row["members"] == n
        rho = plain.spearman(x, y)
        assert row["rho"] == (None if rho is None else pytest.approx(rho, abs=1e-12))
        for share in (1, 5, 10):
            expected = precision([sign * v for v in x], [sign * v for v in y], share / 100)
            assert row[f"precision_{share}"] == pytest.approx(expected, abs=1e-12)
        bounded = [(rows[k][f"{target}_low"], v, rows[k][f"{target}_high"]) for _, v, k in pairs]
        within = [low <= v <= high for low, v, high in bounded if low is not None]
        assert row["intervals"] == len(within)
        assert row["coverage"] == (sum(within) / len(within) if within else None)
        assert (row["brier"], row["refused"]) == (None, None)
        both = [members[k]["status"] == "flipped" for _, _, k in pairs]
        is_mixed = 0.05 * len(both) <= sum(both) <= 0.95 * len(both)
        if rho is not None and len(pairs) > 9:
            ends = plain.jackknife(x, y) if is_mixed else plain.interval(rho, len(x))
            assert (row["ci_low"], row["ci_high"]) == pytest.approx(ends, abs=1e-6)
            assert row["ci_by"] == ("jackknife" if is_mixed else "bonett-wright")


def test_flips_are_graded_by_brier_and_in_bins(tmp_path: Path) -> None:
    members = attempts(120, 3)
    rows = about(members, 3)
    with warehouse_of(tmp_path, members, {"p": rows}) as warehouse:
        (row,) = warehouse.query("from prediction_scores where target = 'flips'").records()
        bins = warehouse.query("from internal.flip_calibration order by low").records()
    pairs = [
        (r["flips"], m["status"] in ("flipped", "rewound"))
        for r, m in zip(rows, members, strict=True)
        if m["status"] != "already_wrong"
    ]
    said, came = [p for p, _ in pairs], [c for _, c in pairs]
    rate = np.mean(came)
    assert row["brier"] == pytest.approx(brier_score_loss(came, said), abs=1e-12)
    assert row["brier_of_rate"] == pytest.approx(rate * (1 - rate), abs=1e-12)
    assert (row["precision_10"], row["coverage"]) == (None, None)
    for lowest, row in zip(sorted({min(9, math.floor(10 * p)) for p in said}), bins, strict=True):
        of_bin = [(p, c) for p, c in pairs if min(9, math.floor(10 * p)) == lowest]
        assert (row["low"], row["high"]) == (lowest / 10, (lowest + 1) / 10)
        assert row["n"] == len(of_bin)
        assert row["predicted"] == pytest.approx(np.mean([p for p, _ in of_bin]), abs=1e-12)
        assert row["flip_rate"] == pytest.approx(np.mean([c for _, c in of_bin]), abs=1e-12)


def test_scores_by_hand(tmp_path: Path) -> None:
    """Of four the two hardest are exchanged: rho is 1 - 6 * 2 / (4 * 15) = 0.8."""
    members = [member(k, f=0.9, u=(k + 1) / 10) for k in range(4)]
    guesses = (0.2, 0.1, 0.3, 0.4)
    rows = [
        predicted(k, m, gt=gt, gt_low=0.0, gt_high=0.0025 if k else 0.0001, flips=0.5)
        for k, (m, gt) in enumerate(zip(members, guesses, strict=True))
    ]
    with warehouse_of(tmp_path, members, {"p": rows}) as warehouse:
        found = {r["target"]: r for r in warehouse.query("from prediction_scores").records()}
        ranks = warehouse.query("select sample_id, predicted_rank from predictions").rows
    assert found["gt"]["rho"] == pytest.approx(0.8)
    assert found["gt"]["precision_10"] == 0  # one place
    assert found["gt"]["coverage"] == 0.25  # of the second alone: its GT is 0.002
    assert found["flips"]["brier"] == 0.25
    assert (found["steps"]["n"], found["steps"]["rho"]) == (0, None)
    assert dict(ranks) == {1: 1, 0: 2, 2: 3, 3: 4}


def test_what_was_made_after_an_attempt_or_calibrated_on_it_is_refused(tmp_path: Path) -> None:
    members = attempts(30, 1)
    members[7]["began"] = NOON - timedelta(hours=1)
    rows = about(members, 1)
    early = {"p": NOON - timedelta(hours=2), "on time": NOON - timedelta(hours=1)}
    made = early | {"late": NOON - timedelta(minutes=30), "learned": early["p"]}
    keys = {"learned": ["k3", "k4", "elsewhere"], "p": ["elsewhere"]}
    predictions = dict.fromkeys(made, rows)
    with warehouse_of(tmp_path, members, predictions, keys, made) as warehouse:
        found = warehouse.query("from prediction_scores").records()
        late = warehouse.query("from predictions where attempted_before").records()
        bins = warehouse.query("select distinct prediction_id from internal.flip_calibration").rows
    of = {row["prediction_id"]: row for row in found if row["target"] == "gt"}
    assert of["late"]["refused"] == (
        "1 of 30 attempts had begun before it was made (the first at 2026-01-01 11:00:00, it at "
        "2026-01-01 11:30:00, UTC by the clocks of their machines)"
    )
    assert of["learned"]["refused"] == (
        "2 of 30 attempts are among those that it was calibrated on"
    )
    assert {(r["n"], r["rho"], r["brier"]) for r in found if r["refused"]} == {(0, None, None)}
    assert all(of[name]["refused"] is None and of[name]["rho"] for name in early)
    assert [(r["prediction_id"], r["key"]) for r in late] == [("late", "k7")]
    assert sorted(bins) == [("on time",), ("p",)]


EARLY = NOON - timedelta(hours=1)
FIRST: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "another seed": ({}, {"seed": 7, "began": EARLY}, True),
    "another seed, of chance": ({"algorithm": "scrub"}, {"seed": 7, "began": EARLY}, False),
    "another sample": ({}, {"sample_id": 99, "began": EARLY}, False),
    "another setting": ({}, {"lr": 0.2, "began": EARLY}, False),
    "another base model": ({}, {"sweep": "t", "base": "c", "began": EARLY}, False),
    "another algorithm": ({}, {"algorithm": "influence", "began": EARLY}, False),
    "another version": ({}, {"engine_version": 9, "began": EARLY}, False),
}


def test_the_first_attempt_that_comes_to_the_same_counts(tmp_path: Path) -> None:
    """Each case is an attempt on a sample of its own, and another one."""
    members: Members = []
    for sample, (own, other, _) in enumerate(FIRST.values()):
        first = member(sample, f=0.5, u=0.9) | own
        members += [first, first | other]
    rows = [predicted(number, members[number], gt=0.1) for number in range(0, len(members), 2)]
    with warehouse_of(tmp_path, members, {"p": rows}) as warehouse:
        found = warehouse.query("from predictions order by sample_id").records()
    said = {name: row["attempted_before"] for name, row in zip(FIRST, found, strict=True)}
    assert said == {name: late for name, (_, _, late) in FIRST.items()}
    assert [row["first_attempted_at"] for row in found] == [
        EARLY if late else NOON for _, _, late in FIRST.values()
    ]


@pytest.mark.parametrize("noise", [0.1, 50.0])
def test_rho_is_put_beside_the_ceiling(tmp_path: Path, noise: float) -> None:
    members = repeats(5, 3, 40, "unlearning seed", noise)
    first = [m for m in members if m["sweep"] == "s0"]
    for place, each in enumerate(members):
        each["metrics"]["steps"] = float(1 + place % 7)
    said = [(m, m["metrics"]["forget_prob_diff"]) for m in first]
    rows = [predicted(members.index(m), m, gt=value, steps=value) for m, value in said]
    with warehouse_of(tmp_path, members, {"p": rows}) as warehouse:
        (row,) = warehouse.query("from prediction_scores where target = 'gt'").records()
        (other,) = warehouse.query("from prediction_scores where target = 'steps'").records()
        (ceiling,) = warehouse.query("from ceilings where sweep_id = 's0'").records()
    assert other["rho"] is not None
    assert (other["ceiling"], other["rho_of_ceiling"]) == (None, None)
    if ceiling["ceiling_low"] == 0 or ceiling["ceiling"] is None:
        assert (row["ceiling"], row["rho_of_ceiling"]) == (None, None)
        assert noise > 1
    else:
        assert row["ceiling"] == ceiling["ceiling"]
        assert row["rho_of_ceiling"] == pytest.approx(row["rho"] / ceiling["ceiling"])
        assert noise < 1


# What it cost to know, and what is shown of it

LATE = {"late": NOON + timedelta(minutes=1)}


def members_with(n: int = 40) -> Members:
    """Attempts with two factors that are known before, of which the one says much."""
    random = np.random.default_rng(1)
    members = attempts(n, 1)
    for m in members:
        noise = random.normal(size=2)
        m["metrics"] |= {
            "pre_cheap": float(noise[0]),
            "pre_dear": measured(m)["gt"] + 1e-4 * float(noise[1]),
            "elapsed_s": 0.5,
        }
    return members


def costs_of(members: Rows, **seconds: float) -> Rows:
    return [
        {"asked": asked.replace("_", "/", 1), "sample_id": m["sample_id"], "seconds": took}
        for asked, took in seconds.items()
        for m in members
    ]


def test_the_seconds_of_a_sample_are_a_quartile_and_of_several_the_last(tmp_path: Path) -> None:
    members = members_with(n=9)
    rows = [
        {"asked": "pre/f", "sample_id": k, "seconds": 1.0 if k > 3 else 9.0 + k} for k in range(8)
    ]
    again = {"asked": "pre/f", "sample_id": 0, "seconds": 0.2, "at": 5}
    other = {"asked": "index/ga", "sample_id": 3, "seconds": 0.1}
    costs = [*rows, again, other]
    with warehouse_of(tmp_path, members, {}, factors=("elapsed_s",), costs=costs) as warehouse:
        found = warehouse.query("from internal.factor_costs").records()
    both = {(row["kind"], row["name"]): row for row in found}
    assert both.keys() == {("factors", "f"), ("index", "ga")}
    family = both["factors", "f"]
    last = [0.2, 10, 11, 12, 1, 1, 1, 1]
    assert family["n"] == 8
    assert family["mean_s"] == pytest.approx(fmean(last))
    assert family["seconds"] == sorted(last)[1]
    assert family["attempt_s"] == 0.5
    assert family["of_attempt"] == family["seconds"] / 0.5
    assert both["index", "ga"]["of_attempt"] == pytest.approx(0.2)


def test_a_rung_is_best_where_nothing_as_cheap_is_stronger(tmp_path: Path) -> None:
    members = members_with()
    predictions = {"p": about(members, 2)}
    costs = costs_of(members, pre_=0.01, index_ga=0.25)  # factors of the tests have no family
    names = ("pre_cheap", "pre_dear", "elapsed_s")
    with warehouse_of(tmp_path, members, predictions, factors=names, costs=costs) as warehouse:
        rungs = warehouse.report("ladder", sweep="s").records()
    assert [row["name"] for row in rungs] == ["pre_dear", "pre_cheap", "index"]
    for row in rungs:
        rivals = [other for other in rungs if other["seconds"] <= row["seconds"]]
        assert row["strength"] == abs(row["rho"])
        assert row["best"] == (row["strength"] == max(other["strength"] for other in rivals))
        assert row["of_attempt"] == row["seconds"] / 0.5
    gt = [m for m in members if m["status"] != "already_wrong"]
    expected = plain.spearman(
        [m["metrics"]["pre_dear"] for m in gt], [measured(m)["gt"] for m in gt]
    )
    assert rungs[0]["rho"] == pytest.approx(expected, abs=1e-12)


def test_the_page_shows_what_was_predicted_and_says_it_in_short(tmp_path: Path) -> None:
    members = members_with()
    rows = about(members, 2)
    names = ("pre_cheap", "pre_dear", "elapsed_s")
    with warehouse_of(
        tmp_path,
        members,
        {"p": rows, "late": rows},
        made=LATE,
        factors=names,
        costs=costs_of(members, pre_=0.01, index_ga=0.25),
    ) as warehouse:
        answers = ask(warehouse, "s")
        figures = write_figures(answers, Pictures(), tmp_path / "f", "svg")
    found = page(answers, Pictures())
    pairs = pairs_of(members, rows, "gt")
    rho = plain.spearman([p for p, *_ in pairs], [m for _, m, _ in pairs])
    assert f"ga {len(pairs)} {signed(rho)}" in found.text
    assert rho is not None
    assert f"agrees with the order that came out: {without_sign(rho)} with ga" in found.text
    assert "of ga is not graded:" in found.text
    assert "Nothing was predicted" not in found.text
    assert "When it said that a sample flips" in found.text
    assert found.data["predicted"]["sample_id"] == [sample for *_, sample in pairs]
    drawn = zip(found.data["predicted"]["predicted_gt"], pairs, strict=True)
    assert all(shown == pytest.approx(p, rel=1e-5) for shown, (p, *_) in drawn)
    assert found.data["ladder"]["unit"] == "of_attempt"
    assert [rung["cost"] for rung in found.data["ladder"]["rungs"]] == [0.02, 0.02, 0.5]
    assert {"predicted", "ladder"} <= {path.stem for path in figures}
