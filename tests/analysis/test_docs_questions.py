"""The questions of docs/questions.md have answers, in the oldest DuckDB and the newest."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.warehouse import STAGING, open_warehouse, rebuild
from tests.analysis.test_predictions import NOON, about, attempts
from tests.analysis.test_shells import new_shell, old_shell, plain
from tests.analysis.warehouses import staging

PAGE = Path(__file__).parent.parent.parent / "docs" / "questions.md"
QUESTIONS = re.findall(r"^## (.*?)$.*?```sql\n(.*?)```", PAGE.read_text("utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of two sweeps that differ in the seed, of which the later was predicted."""
    members = [
        m | {"algorithm": name, "sweep": f"s{seed}", "seed": seed}
        for seed in (0, 1)
        for name, flips in (("ga", 0.7), ("scrub", 0.4))
        for m in attempts(30, seed + round(10 * flips), flips)
    ]
    for number, m in enumerate(members):
        m["metrics"]["margin"] = float(number * 7 % 31)
    tables = {n: t.to_pylist() for n, t in staging(members, ("test_accuracy", "margin")).items()}
    for run in tables["runs"]:
        is_late = run["run_id"] == "s1" or run["run_id"] in {f"m{k}" for k in range(60, 120)}
        run["start_time"] = NOON + timedelta(hours=is_late)
    own = {"run_id": "p", "name": "p", "experiment": "e", "kind": "prediction"}
    tables["runs"].append(own | {"status": "FINISHED", "end_time": NOON})
    tables["params"] += [{"run_id": "p", "key": "base_run_id", "value": "b"}]
    tables["predictions"] += [{"run_id": "p", **row} for row in about(members, 0)[60:]]
    tables["histories"] = [
        {"run_id": f"m{number}", "step": k, "forget_prob": 1 / (k + 1), "forget_loss": k / 9}
        for number, m in enumerate(members)
        for k in range(int(m["metrics"]["steps"]) + 1)
    ]
    path = tmp_path_factory.mktemp("questions") / "w.duckdb"
    rebuild(path, {n: pa.Table.from_pylist(tables[n], schema=s) for n, s in STAGING.items()})
    return path


def answer(path: Path, query: str) -> list[dict[str, Any]]:
    with open_warehouse(path) as warehouse:
        return warehouse.query(query).records()


def test_there_are_ten_questions_of_at_most_three_lines() -> None:
    assert len(QUESTIONS) == 10
    for title, query in QUESTIONS:
        lines = query.splitlines()
        assert len(lines) <= 3, title
        assert max(map(len, lines)) <= 100, title


@pytest.mark.parametrize(("title", "query"), QUESTIONS, ids=[title for title, _ in QUESTIONS])
def test_a_question_has_an_answer(path: Path, title: str, query: str) -> None:
    rows = answer(path, query)
    assert rows
    for column in rows[0]:
        assert any(row[column] is not None for row in rows), column


@pytest.mark.parametrize("shell", [new_shell, old_shell])
def test_shells_answer_as_the_command_does(
    path: Path, shell: Callable[[], Callable[[Path, str], str]]
) -> None:
    ask = shell()
    for title, query in QUESTIONS:
        found = csv.DictReader(io.StringIO(ask(path, query)))
        assert [plain(row) for row in found] == [plain(row) for row in answer(path, query)], title
