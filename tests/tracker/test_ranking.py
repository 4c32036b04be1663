"""`rank`, `sample` and `reliability` where GT is tied, or hardly repeats itself."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.warehouse import rebuild
from tests.analysis.warehouses import member, repeats, staging
from tests.tracker.conftest import Indelible
from tests.tracker.test_output import on_a_terminal

ZEROS, N = 8, 12


def store_of(folder: Path, members: list[dict[str, Any]]) -> Path:
    rebuild(folder / "analysis.duckdb", staging(members, ()))
    return folder


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a sweep in which GT is 0 for eight of twelve, in the order of their ids from the
    end, and one pair is tied above it."""
    falls = [-0.1 - 0.01 * k for k in range(ZEROS)] + [0.2, 0.2, 0.3, 0.4]
    members = [member(k, f=f, u=0.5) for k, f in enumerate(falls)]
    return store_of(tmp_path_factory.mktemp("store"), members)


def asked(indelible: Indelible, store: Path, *arguments: object) -> list[dict[str, Any]]:
    answer = indelible(store, *arguments, "--format", "json")
    assert answer.code == 0, answer.err
    found: list[dict[str, Any]] = json.loads(answer.out)
    return found


def test_rank_says_who_is_tied_and_orders_zeros_by_how_far_they_fell(
    tied: Path, indelible: Indelible
) -> None:
    rows = asked(indelible, tied, "rank", "--algorithm", "ga", "--top", N)
    assert [row["sample_id"] for row in rows] == [*reversed(range(ZEROS)), *range(ZEROS, N)]
    assert [row["place"] for row in rows] == [*range(1, 9), 9, 9, 11, 12]
    assert [row["tied"] for row in rows] == [7] * ZEROS + [1, 1, 0, 0]
    assert {row["difficulty_rank"] for row in rows[:ZEROS]} == {1}
    assert [row["ordered_by"] for row in rows] == ["f"] * ZEROS + ["gt"] * 4
    assert [row["regime"] for row in rows] == [None] * ZEROS + ["utility"] * 4
    assert rows[-1]["gt_share"] == pytest.approx(0.2 / 0.405)
    table = indelible(tied, "rank", "--algorithm", "ga", "--top", N).out
    assert len(re.findall(r"^ +1 +7 ", table, re.MULTILINE)) == ZEROS
    assert len(re.findall(r"^ +9 +1 ", table, re.MULTILINE)) == 2


def test_ranks_for_one_algorithm_fit_a_terminal_of_80_columns(tmp_path: Path) -> None:
    falls = [-0.1 - 0.0123456 * k for k in range(29)] + [0.0512345 + 0.0123 * k for k in range(20)]
    members = [member(50_000 + k, f=f, u=0.5123456) for k, f in enumerate(falls)]
    store = store_of(tmp_path, members)
    command = ("rank", "--algorithm", "ga", "--top", str(len(falls)))
    lines = re.sub(r"\x1b\[[\d;]*m", "", on_a_terminal(store, *command)).splitlines()
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if re.search(r" \d{5} ", line)]) == len(falls)
    assert len(lines) <= len(falls) + 6  # title, headings, a rule, and what is said below


def test_the_easiest_of_the_tied_fell_most_and_all_are_tied_over_all(
    tied: Path, indelible: Indelible
) -> None:
    rows = asked(indelible, tied, "rank", "--algorithm", "ga", "--easiest", "--top", N)
    assert [row["sample_id"] for row in rows] == [11, 10, 8, 9, *range(ZEROS)]
    rows = asked(indelible, tied, "rank", "--top", N)
    assert [row["sample_id"] for row in rows][:ZEROS] == [*reversed(range(ZEROS))]
    assert [row["tied"] for row in rows] == [7] * ZEROS + [1, 1, 0, 0]
    text = indelible(tied, "rank", "--top", N, "--format", "csv").out
    assert [row["tied"] for row in csv.DictReader(io.StringIO(text))] == ["7"] * 8 + list("1100")
    (zero,) = asked(indelible, tied, "sample", 0)
    assert (zero["gt"], zero["gt_share"], zero["regime"]) == (0, 0, None)
    assert (zero["tied"], zero["place"], zero["ordered_by"]) == (7, 8, "f")


def test_correlate_takes_those_that_did_not_flip(tmp_path: Path, indelible: Indelible) -> None:
    ends = ("flipped", "max_steps", "rewound")
    store = store_of(tmp_path, [member(k, 0.1 + k / 20, 0.5, ends[k % 3]) for k in range(12)])
    found = asked(indelible, store, "correlate", "--population", "not_flipped")
    assert {row["n"] for row in found if row["factor"] == "forget_prob_diff"} == {8}
    assert {row["population"] for row in found} == {"not_flipped"}


def noise() -> list[dict[str, Any]]:
    """Two repeats whose GT have nothing in common."""
    random = np.random.default_rng(1)
    return [
        member(k, f=float(random.uniform(0.1, 0.9)), u=0.9) | {"sweep": f"s{s}", "seed": s}
        for s in range(2)
        for k in range(40)
    ]


SEED = "unlearning seed"


@pytest.mark.parametrize(
    ("members", "printed", "remark"),
    [
        (repeats(0, 3, 60, SEED), "{ceiling:.4g} ({ceiling_low:.2f} to ", "3 repeats are 3 pairs"),
        (repeats(0, 4, 20, SEED), "{mean_rho:.4g} ({mean_rho_low:.2f} to ", ""),
        (repeats(0, 2, 5, SEED), "too few samples for an interval", "2 repeats are 1 pair"),
        (noise(), "not distinguishable from 0", "2 repeats are 1 pair"),
    ],
    ids=["three", "four", "few samples", "by chance"],
)
def test_reliability_is_not_printed_without_its_interval(
    members: list[dict[str, Any]], printed: str, remark: str, tmp_path: Path, indelible: Indelible
) -> None:
    store = store_of(tmp_path, members)
    (row,) = asked(indelible, store, "reliability")
    answer = indelible(store, "reliability")
    assert printed.format_map(row) in answer.out
    assert ("repeats are" in answer.err) == bool(remark)
    assert remark in answer.err
    assert indelible(store, "reliability", "--format", "csv").err == ""
