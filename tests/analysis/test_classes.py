"""No class is called harder without a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from analysis.answers import ask
from analysis.findings import findings
from tests.analysis.test_report import Page, page_of, pictures_for, rendered
from tests.analysis.warehouses import member, warehouse_of
from tests.oracles import statistics as plain

Members = list[dict[str, Any]]


def members_of(
    seed: int, shifts: dict[str, float], n: int = 60, classes: int = 3, digits: int = 2
) -> Members:
    """Members whose GT is larger by so much a class, for each algorithm; few digits make ties."""
    random = np.random.default_rng(seed)
    return [
        member(
            k,
            f=float(np.round(0.5 + shift * (k % classes) + 0.1 * random.random(), digits)),
            u=90.0,
            algorithm=name,
            label=k % classes,
        )
        for name, shift in shifts.items()
        for k in range(n)
    ]


def kruskals(folder: Path, members: Members) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    with warehouse_of(folder, members) as warehouse:
        outcomes = warehouse.query("from outcomes where gt is not null").records()
        return warehouse.query("from class_tests").records(), outcomes


@pytest.mark.parametrize(("n", "classes", "digits"), [(2, 2, 9), (60, 3, 1), (61, 10, 9)])
def test_the_test_of_classes_is_scipys(tmp_path: Path, n: int, classes: int, digits: int) -> None:
    members = members_of(n, {"ga": 0.0, "salun": 0.02, "scrub": 0.1}, n, classes, digits)
    members.append(member(n, f=float("nan"), u=0.9, status="non_finite", label=99))  # has no GT
    rows, outcomes = kruskals(tmp_path, members)
    assert [row["algorithm"] for row in rows] == ["ga", "salun", "scrub"]
    for row in rows:
        own = [o for o in outcomes if o["algorithm"] == row["algorithm"]]
        groups = [[o["gt"] for o in own if o["label"] == label] for label in range(classes)]
        assert (row["classes"], row["n"], row["df"]) == (classes, n, classes - 1)
        if len({o["gt"] for o in own}) == 1:
            assert (row["h"], row["p_value"], row["p_holm"]) == (None, None, None)
            continue
        h, p = scipy.stats.kruskal(*groups)
        assert row["h"] == pytest.approx(h, abs=1e-12, rel=1e-12)
        assert row["p_value"] == pytest.approx(p, abs=1e-12)
    defined = [row for row in rows if row["p_value"] is not None]
    if defined:
        expected = plain.corrected([row["p_value"] for row in defined], "holm")
        assert [row["p_holm"] for row in defined] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "members",
    [
        [member(k, f=0.1 + k / 20, u=0.9, label=4) for k in range(9)],  # one class
        [member(k, f=-0.1, u=0.9) for k in range(9)],  # one GT
        [member(0, f=0.5, u=0.9)],
    ],
)
def test_without_classes_or_an_order_there_is_no_test(tmp_path: Path, members: Members) -> None:
    (row,), _ = kruskals(tmp_path, members)
    assert (row["h"], row["p_value"], row["p_holm"]) == (None, None, None)


def of_classes(folder: Path, members: Members) -> tuple[list[str], Page]:
    with warehouse_of(folder, members) as warehouse:
        answers = ask(warehouse, "s")
    rows = {name: answer.rows for name, answer in answers.by_name.items()}
    said = findings(rows, {k: f"c{k}" for k in range(10)})
    return [line for line in said if "class" in line], Page(
        rendered(answers, pictures_for(answers))
    )


def test_only_where_the_test_says_so_classes_are_harder(tmp_path: Path) -> None:
    members = members_of(3, {"ga": 0.0, "salun": 0.1, "scrub": 0.1})
    (said,), page = of_classes(tmp_path, members)
    with warehouse_of(tmp_path, members) as warehouse:
        means = dict(
            warehouse.query(
                "select label, avg(percentile) from difficulty where algorithm != 'ga' group by all"
            ).rows
        )
    assert said == (
        "Classes differ in difficulty with 2 of 3 algorithms (salun, scrub; Kruskal–Wallis, "
        "p < 0.05 corrected by Holm): there the samples of class c0 are harder than "
        f"{means[0]:.0f}% of all on average, those of class c2 than {means[2]:.0f}%."
    )
    assert "Classes differ with salun, scrub." in page.text
    assert "p < 0.001" in page.text


def test_one_class_says_nothing(tmp_path: Path) -> None:
    said, page = of_classes(tmp_path, [member(k, f=0.1 + k / 20, u=0.9, label=4) for k in range(9)])
    assert said == []
    assert "differ" in page_of(tmp_path, members_of(0, {"ga": 0.1})).text
    assert "Kruskal" not in page.text
