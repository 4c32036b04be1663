"""Relearning through the command line: measured where it is asked for, and afterwards the same."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from factors import forgetting
from tests.tracker.conftest import Indelible
from unlearning import datasets

NAMES = {"relearn_steps", "relearned", "control_relearn_steps", "control_relearned"}
Values = dict[tuple[int, str], float]  # by sample and factor


def rows(folder: Path, sweep: str, query: str) -> list[Any]:
    """What is asked of the members of a sweep."""
    of_sweep = "run_uuid in (select run_uuid from tags where key = 'mlflow.parentRunId' and "
    with closing(sqlite3.connect(folder / "mlflow.db")) as db:
        return db.execute(f"{query} and {of_sweep} value = ?)", (sweep,)).fetchall()


def values(folder: Path, sweep: str) -> Values:
    known = dict(rows(folder, sweep, "select run_uuid, value from tags where key = 'sample_id'"))
    query = "select run_uuid, key, value from latest_metrics where key like 'relearning/%'"
    found = rows(folder, sweep, f"{query} and not is_nan")
    return {(int(known[run]), key.partition("/")[2]): value for run, key, value in found}


def test_it_is_measured_where_it_is_asked_for_and_afterwards_the_same(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "BUDGET", 12)
    folder = tmp_path / "s"
    source = datasets.Source(train_samples=300, test_samples=100)
    ids = datasets.load("digits", source).train.ids[:8].tolist()
    few = ("--arch", "mlp", "--epochs", 4, "--train-samples", 300, "--test-samples", 100)
    left_out = ("--leave-out", ",".join(map(str, ids[:4])))
    assert indelible(folder, "train", *few, "--references", 8, *left_out).code == 0
    sweep = ("sweep", "--algorithm", "ga", "--sample-ids", ",".join(map(str, ids)))
    asked = indelible(folder, *sweep, "--factors", "relearning")
    assert asked.code == 0, asked.err
    whole = values(folder, asked.id)
    assert {name for _, name in whole} == NAMES
    assert {sample for sample, name in whole if name == "control_relearned"} <= {*ids[:4]}
    assert {value for (_, name), value in whole.items() if name == "relearned"} <= {0.0, 1.0}
    again = indelible(folder, *sweep, "--factors", "relearning")
    assert (again.id, values(folder, again.id)) == (asked.id, whole)

    other = indelible(folder, *sweep, "--seed", 1)  # ga has no chance: the same attempts
    assert values(folder, other.id) == {}
    later = indelible(folder, "measure", "--factors", "relearning", "--format", "json")
    (row,) = json.loads(later.out)
    assert row["measured"] == len(ids)
    assert values(folder, other.id) == whole
    third = indelible(folder, *sweep, "--seed", 2)
    indelible(folder, "measure", "--factor", "relearn_steps")
    found = values(folder, third.id)
    assert found == {key: v for key, v in whole.items() if not key[1].startswith("control")}

    assert indelible(folder, "load").code == 0
    commands = rows(folder, asked.id, "select value from tags where key = 'command'")
    words = commands[0][0].split()
    assert words[words.index("--factors") + 1] == "relearning"
    assert words.count("--factors") == 1
    known = indelible(folder, "sql", "from samples", "--format", "json")
    assert "control_relearn_steps" in json.loads(known.out)[0]


def test_a_family_that_is_not_optional_is_one_line(trained: Path, indelible: Indelible) -> None:
    answer = indelible(trained, "sweep", "--algorithm", "ga", "--samples", 2, "--factors", "probe")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "no optional factor family is 'probe': choose one of relearning, or write" in answer.err
