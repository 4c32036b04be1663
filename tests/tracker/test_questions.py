"""The commands that only ask the warehouse, on warehouses made by hand."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from analysis.warehouse import open_warehouse, rebuild
from tests.analysis.warehouses import PRE, member, repeats, staging, sweep_of
from tests.tracker.conftest import Indelible
from tracker.cli._output import by_sign
from tracker.store.views import of_run

PAPERS = ("ga", "neggrad", "salun", "scrub")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose warehouse holds a sweep of the paper's algorithms."""
    folder = tmp_path_factory.mktemp("store")
    rebuild(folder / "analysis.duckdb", staging(sweep_of(0, 40, PAPERS), PRE))
    return folder


def asked(indelible: Indelible, store: Path, *arguments: object) -> list[dict[str, Any]]:
    answer = indelible(store, *arguments, "--format", "json")
    assert answer.code == 0, answer.err
    found: list[dict[str, Any]] = json.loads(answer.out)
    return found


def test_correlate_prints_what_its_cells_are_asked_for(store: Path, indelible: Indelible) -> None:
    rows = asked(indelible, store, "correlate")
    row = next(row for row in rows if (row["factor"], row["algorithm"]) == ("smooth", "ga"))
    for cells, text in {
        "rho": f"{row['rho']:+.4f}",
        "p": f"({row['p_value']:.0e})",
        "interval": f"[{row['ci_low']:+.2f},{row['ci_high']:+.2f}]",
        "partial": f"{row['partial_rho']:+.4f}",
        "within": f"{row['within_class_rho']:+.4f}",
    }.items():
        answer = indelible(store, "correlate", "--cells", cells)
        (line,) = [line for line in answer.out.splitlines() if line.startswith("smooth")]
        assert text in line
        assert "pre_never" not in answer.out  # of nothing that nobody measured
        assert "test_prob_diff †" in answer.out
        assert "†" in answer.err


def test_correlate_takes_those_that_did_not_flip(store: Path, indelible: Indelible) -> None:
    others = "select count(*) as n from attempts where algorithm = 'ga' and status != 'flipped'"
    (expected,) = asked(indelible, store, "sql", others)
    found = asked(indelible, store, "correlate", "--population", "not_flipped")
    of_ga = [row for row in found if row["algorithm"] == "ga"]
    assert {row["n"] for row in of_ga if row["factor"] == "forget_prob_diff"} == {expected["n"]}
    assert 0 < expected["n"] < 40
    assert {row["population"] for row in found} == {"not_flipped"}


def test_bootstrap_is_seeded_and_replaces_the_interval(store: Path, indelible: Indelible) -> None:
    plain = asked(indelible, store, "correlate")
    once, again = (asked(indelible, store, "correlate", "--bootstrap", 200) for _ in range(2))
    other = asked(indelible, store, "correlate", "--bootstrap", 200, "--seed", 1)
    assert once == again != other
    for row, before in zip(once, plain, strict=True):
        assert {k: v for k, v in row.items() if k[:3] != "ci_"} == {
            k: v for k, v in before.items() if k[:3] != "ci_"
        }
        if row["rho"] is not None:
            assert row["ci_low"] <= row["ci_high"]
            assert row["ci_low"] == pytest.approx(before["ci_low"], abs=0.3)


def test_agree(store: Path, indelible: Indelible) -> None:
    rows = asked(indelible, store, "agree")
    assert len(rows) == 6
    assert len({row["concordance"] for row in rows}) == 1
    table = indelible(store, "agree").out
    assert f"Kendall's W of 4 algorithms over 40 samples: {rows[0]['concordance']:.3f}" in table
    assert re.search(rf"\nga +neggrad .* {rows[0]['top_overlap']:.4g} ", table)


def test_compare(store: Path, indelible: Indelible) -> None:
    rows = asked(indelible, store, "compare")
    assert {row["against"] for row in rows} == {"svhn", "mnist", "cifar10"}
    svhn = asked(indelible, store, "compare", "--against", "svhn")
    assert svhn == [row for row in rows if row["against"] == "svhn"]
    table = indelible(store, "compare", "--against", "svhn").out
    for population in ("all", "flipped"):
        ga = [
            row
            for row in svhn
            if (row["algorithm"], row["population"]) == ("ga", population)
            and row["rho"] is not None
        ]
        agreeing = sum(row["signs_agree"] for row in ga)
        assert len(ga) == 1
        assert re.search(rf"{population} +svhn +ga +1 +{agreeing} +0 +1 ", table)
    assert "over all samples" in table
    assert "over those that flipped" in table
    assert "-1.00" in table  # the paper's


def test_one_samples_story(store: Path, indelible: Indelible) -> None:
    rows = asked(indelible, store, "sample", 7)
    assert [row["algorithm"] for row in rows] == list(PAPERS)
    with open_warehouse(store / "analysis.duckdb") as warehouse:
        margins = [row["margin"] for row in warehouse.query("from samples").records()]
        ranks = warehouse.query(
            "select algorithm, difficulty_rank, run_id from attempts where sample_id = 7 "
            "order by algorithm"
        ).rows
        falls = warehouse.query(
            "select o.algorithm, o.sample_id, v.value from attempts as o "
            "join factors as v on v.run_id = o.run_id and v.factor = 'forget_prob_diff'"
        ).rows
    assert [(r["algorithm"], r["difficulty_rank"], r["run_id"]) for r in rows] == ranks
    assert all(r["link"] == f"http://127.0.0.1:5000/{of_run('1', r['run_id'])}" for r in rows)
    first = rows[0]
    assert first["margin_percentile"] == pytest.approx(percentile(margins, first["margin"]))
    for row in rows:
        values = [value for algorithm, _, value in falls if algorithm == row["algorithm"]]
        assert (row["algorithm"], 7, row["forget_prob_diff"]) in falls
        expected = percentile(values, row["forget_prob_diff"])
        assert row["forget_prob_diff_percentile"] == pytest.approx(expected)
    answer = indelible(store, "sample", 7)
    assert "Sample 7, label 1" in answer.out
    assert first["link"] not in answer.out
    answer = indelible(store, "sample", 7, "--all")
    assert f"{first['margin']:.4g} ({first['margin_percentile']:.0f})" in answer.out
    assert first["link"] in answer.out
    assert "pre_never" not in answer.out
    assert "no image: " in answer.err  # its data set is none that there is


def percentile(values: list[float], own: float) -> float:
    """The share of values that are lower than one of them, ties counted half."""
    lower, same = sum(value < own for value in values), values.count(own)
    return 100 * (lower + same / 2) / len(values)


def test_colours_tell_sign_and_strength() -> None:
    styles = [by_sign("", value).style for value in (0.9, -0.9, 0.4, -0.1, 0.0, None)]
    assert styles == ["bold blue", "bold red", "blue", "red", "dim", "dim"]


# Ranks, where GT is tied

ZEROS, N = 8, 12


def store_of(folder: Path, members: list[dict[str, Any]]) -> Path:
    rebuild(folder / "analysis.duckdb", staging(members, ()))
    return folder


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a sweep in which GT is 0 for eight of twelve, in the order of their ids from the
    end, and one pair is tied above it."""
    falls = [-0.1 - 0.01 * k for k in range(ZEROS)] + [0.2, 0.2, 0.3, 0.4]
    members = [member(k, f=f, u=0.5, algorithm="ft") for k, f in enumerate(falls)]
    return store_of(tmp_path_factory.mktemp("store"), members)


def test_rank_says_who_is_tied_and_orders_zeros_by_how_far_they_fell(
    tied: Path, indelible: Indelible
) -> None:
    rows = asked(indelible, tied, "rank", "--algorithm", "ft", "--top", N)
    assert [row["sample_id"] for row in rows] == [*reversed(range(ZEROS)), *range(ZEROS, N)]
    assert [row["place"] for row in rows] == [*range(1, 9), 9, 9, 11, 12]
    assert [row["tied"] for row in rows] == [7] * ZEROS + [1, 1, 0, 0]
    assert {row["difficulty_rank"] for row in rows[:ZEROS]} == {1}
    assert [row["ordered_by"] for row in rows] == ["f"] * ZEROS + ["gt"] * 4
    assert [row["regime"] for row in rows] == [None] * ZEROS + ["utility"] * 4
    assert rows[-1]["gt_share"] == pytest.approx(0.2 / 0.405)
    table = indelible(tied, "rank", "--algorithm", "ft", "--top", N).out
    assert len(re.findall(r"^ +1 +7 ", table, re.MULTILINE)) == ZEROS
    assert len(re.findall(r"^ +9 +1 ", table, re.MULTILINE)) == 2


def test_ranks_for_one_algorithm_fit_a_terminal_of_80_columns(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    falls = [-0.1 - 0.0123456 * k for k in range(29)] + [0.0512345 + 0.0123 * k for k in range(20)]
    members = [member(50_000 + k, f=f, u=0.5123456) for k, f in enumerate(falls)]
    store = store_of(tmp_path, members)
    monkeypatch.setenv("COLUMNS", "80")
    lines = indelible(store, "rank", "--algorithm", "ga", "--top", len(falls)).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if re.search(r" \d{5} ", line)]) == len(falls)
    assert len(lines) <= len(falls) + 4  # title, headings and a rule


def test_the_easiest_of_the_tied_fell_most_and_all_are_tied_over_all(
    tied: Path, indelible: Indelible
) -> None:
    rows = asked(indelible, tied, "rank", "--algorithm", "ft", "--easiest", "--top", N)
    assert [row["sample_id"] for row in rows] == [11, 10, 8, 9, *range(ZEROS)]
    rows = asked(indelible, tied, "rank", "--top", N)
    assert [row["sample_id"] for row in rows][:ZEROS] == [*reversed(range(ZEROS))]
    assert [row["tied"] for row in rows] == [7] * ZEROS + [1, 1, 0, 0]
    (zero,) = asked(indelible, tied, "sample", 0)
    assert (zero["gt"], zero["gt_share"], zero["regime"]) == (0, 0, None)
    assert (zero["tied"], zero["place"], zero["ordered_by"]) == (7, 8, "f")


def noise() -> list[dict[str, Any]]:
    """Two repeats whose GT have nothing in common."""
    random = np.random.default_rng(1)
    return [
        member(k, f=float(random.uniform(0.1, 0.9)), u=0.9) | {"sweep": f"s{s}", "seed": s}
        for s in range(2)
        for k in range(40)
    ]


def test_reliability_is_not_printed_without_its_interval(
    tmp_path: Path, indelible: Indelible
) -> None:
    few = [m | {"algorithm": "scrub"} for m in repeats(0, 2, 5, "unlearning seed")]
    two = store_of(tmp_path / "two", [*noise(), *few])
    three = store_of(tmp_path / "three", repeats(0, 3, 60, "unlearning seed"))
    answer = indelible(two, "reliability")
    assert "too few samples for an interval" in answer.out
    assert "not distinguishable from 0" in answer.out
    assert "2 repeats are 1 pair" in answer.err
    (row,) = asked(indelible, three, "reliability")
    answer = indelible(three, "reliability")
    assert "{ceiling:.4g} ({ceiling_low:.2f} to ".format_map(row) in answer.out
    assert "{mean_rho:.4g} ({mean_rho_low:.2f} to ".format_map(row) in answer.out
    assert "3 repeats are 3 pairs" in answer.err
    assert indelible(three, "reliability", "--format", "csv").err == ""


# What can be asked


def test_schema_describes_all_relations(store: Path, indelible: Indelible) -> None:
    rows = asked(indelible, store, "schema")
    own = "select table_name from duckdb_tables() where schema_name = 'main'"
    with open_warehouse(store / "analysis.duckdb") as warehouse:
        tables = {name for (name,) in warehouse.query(own).rows}
        assert tables < {row["relation"] for row in rows}
        for example in {row["example"] for row in rows}:
            assert warehouse.query(example).columns
        types = {name: warehouse.types(f"from {name}") for name in tables}
        for row in (row for row in rows if row["relation"] in tables):
            assert (row["column"], row["type"]) in types[row["relation"]]
    text = indelible(store, "schema", "attempts").out
    assert text.startswith("attempts: one row per finished attempt of a sweep")
    assert 'indelible sql "select' in text
    assert re.search(r"\nsweep_id +VARCHAR +the run id of the sweep\n", text)
    every = indelible(store, "schema").out
    assert re.search(r"\nattempts +one row per finished attempt", every)
    assert "internal." not in every
    refused = indelible(store, "schema", "nothing")
    assert (refused.code, refused.out) == (2, "")
    assert "correlations" in refused.err


QUERY = "select algorithm, count(*) as n, sum(gt) as gt, null as nothing from attempts group by 1"


def test_sql_writes_files(store: Path, tmp_path: Path, indelible: Indelible) -> None:
    expected = asked(indelible, store, "sql", f"{QUERY} order by 1")
    for kind in ("parquet", "csv", "json"):
        path = tmp_path / f"rows.{kind}"
        answer = indelible(store, "sql", f"{QUERY} order by 1", "--output", path)
        assert (answer.code, answer.out, answer.err) == (0, "", f"wrote {path}\n")
    assert parquet.read_table(tmp_path / "rows.parquet").to_pylist() == expected
    assert json.loads((tmp_path / "rows.json").read_text()) == expected
    rows = list(csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text())))
    assert [float(row["gt"]) for row in rows] == [row["gt"] for row in expected]
    assert len([*tmp_path.iterdir()]) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((QUERY, "--output", "{folder}/rows.xlsx"), ".parquet, .csv, .json"),
        ((QUERY, "--output", "{folder}/absent/rows.csv"), "cannot be written"),
        (("selec 1", "--output", "{folder}/rows.csv"), "syntax error"),
        (("from nowhere", "--output", "{folder}/rows.parquet"), "nowhere"),
        (("copy outcomes to '{folder}/stolen.csv'", "--output", "{folder}/rows.parquet"), ""),
    ],
)
def test_sql_fails_in_one_line_and_writes_nothing(
    store: Path,
    tmp_path: Path,
    indelible: Indelible,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    answer = indelible(store, "sql", *(word.format(folder=tmp_path) for word in arguments))
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_sql_limits_and_explains(store: Path, tmp_path: Path, indelible: Indelible) -> None:
    assert len(asked(indelible, store, "sql", "from attempts", "--limit", 3)) == 3
    path = tmp_path / "rows.parquet"
    indelible(store, "sql", "from attempts", "--limit", 3, "--output", path)
    assert parquet.read_table(path).num_rows == 3
    plan = indelible(store, "sql", QUERY, "--explain").out
    assert "attempts" in plan
    assert len(plan.splitlines()) > 5
