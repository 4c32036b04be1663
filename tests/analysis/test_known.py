"""How well it was known beforehand, and what that cost: relations, page and figures."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from analysis.answers import ask
from analysis.figures import write_figures
from analysis.pictures import Pictures
from analysis.report import in_short
from analysis.words import signed
from tests.analysis.test_predictions import NOON, about, attempts, measured, pairs_of, warehouse_of
from tests.analysis.test_report import Page, rendered
from tests.oracles import statistics as plain

Rows = list[dict[str, Any]]
LATE = {"late": NOON + timedelta(minutes=1)}


def members_with(n: int = 40) -> Rows:
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
        found = warehouse.query("from factor_costs").records()
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


def test_of_several_predictions_the_one_of_most_attempts_is_shown(tmp_path: Path) -> None:
    members = attempts(20, 3)
    rows = about(members, 4)
    predictions = {"few": rows[:9], "most": rows, "late": rows, "again": rows}
    made = LATE | {"again": NOON - timedelta(seconds=9)}
    with warehouse_of(tmp_path, members, predictions, made=made) as warehouse:
        assert warehouse.query("from graded_predictions('s')").rows == [("ga", "most")]
        points = warehouse.report("predicted", sweep="s", max_loss=5).records()
        (refused,) = warehouse.report("unknown", sweep="s").records()
        assert {row["prediction_id"] for row in warehouse.report("known", sweep="s").records()} == {
            "most"
        }
    pairs = [(row["predicted_gt"], row["gt"], row["sample_id"]) for row in points]
    assert pairs == [
        (p, pytest.approx(m, rel=1e-12), sample) for p, m, sample in pairs_of(members, rows, "gt")
    ]
    assert (refused["prediction_id"], refused["algorithms"]) == ("late", ["ga"])
    assert "had begun before it was made" in refused["refused"]


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
    page = Page(rendered(answers, Pictures()))
    pairs = pairs_of(members, rows, "gt")
    rho = plain.spearman([p for p, *_ in pairs], [m for _, m, _ in pairs])
    assert f"ga {len(pairs)} {signed(rho)}" in page.text
    (sentence,) = (s for s in in_short(answers, Pictures()) if s.startswith("Predicted before"))
    assert f"ρ with GT is {signed(rho)} (" in sentence
    assert sentence in page.text
    assert "of ga is not graded:" in page.text
    assert "Nothing was predicted" not in page.text
    assert "When it said that a sample flips" in page.text
    assert page.data["predicted"]["sample_id"] == [sample for *_, sample in pairs]
    drawn = zip(page.data["predicted"]["predicted_gt"], pairs, strict=True)
    assert all(shown == pytest.approx(p, rel=1e-5) for shown, (p, *_) in drawn)
    assert page.data["ladder"]["unit"] == "of_attempt"
    assert [rung["cost"] for rung in page.data["ladder"]["rungs"]] == [0.02, 0.02, 0.5]
    assert {"chart-predicted", "chart-ladder"} <= {div.get("id") for div in page.all("div")}
    assert {"predicted", "ladder"} <= {path.stem for path in figures}


def test_without_a_graded_prediction_the_page_says_how_to_get_one(tmp_path: Path) -> None:
    members = attempts(12, 5)
    with warehouse_of(tmp_path, members, {"late": about(members, 2)}, made=LATE) as warehouse:
        answers = ask(warehouse, "s")
        figures = write_figures(answers, Pictures(), tmp_path / "f", "svg")
    page = Page(rendered(answers, Pictures()))
    assert "Nothing was predicted of these attempts before they began" in page.text
    assert "indelible predict" in page.text
    assert "is not graded:" in page.text
    assert "It is not known what the factors of this base model took" in page.text
    assert not any("Predicted" in sentence for sentence in in_short(answers, Pictures()))
    ids = {div.get("id") for div in page.all("div")}
    assert not ids & {"chart-predicted", "chart-ladder"}
    assert not {"predicted", "ladder"} & {path.stem for path in figures}
