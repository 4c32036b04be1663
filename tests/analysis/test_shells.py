"""Others can read what we write: DuckDB's shells, the newest and the first that is to be read."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.warehouse import STAGING, open_warehouse, rebuild
from tests.analysis.test_predictions import NOON, about, attempts
from tests.analysis.warehouses import staging

OLD = "INDELIBLE_OLD_DUCKDB"  # a folder with the Python package duckdb 1.0.0
READ = """
import csv, sys, duckdb
found = duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2])
rows = csv.writer(sys.stdout)
rows.writerow(name for name, *_ in found.description)
rows.writerows(found.fetchall())
"""


def new_shell() -> Callable[[Path, str], str]:
    """The executable of the package duckdb-cli."""
    beside = Path(sys.executable).with_name("duckdb")
    shell = str(beside) if beside.exists() else shutil.which("duckdb")
    if shell is None:
        pytest.skip("needs DuckDB's shell (pip install duckdb-cli)")
    return lambda path, query: said(shell, "-readonly", "-csv", str(path), query)


def old_shell() -> Callable[[Path, str], str]:
    """The Python package of that version, which has the same library."""
    if OLD not in os.environ:
        pytest.skip(f"needs duckdb 1.0.0 in a folder that {OLD} names")
    environment = {**os.environ, "PYTHONPATH": os.environ[OLD]}
    version = said(sys.executable, "-c", "print(__import__('duckdb').__version__)", env=environment)
    assert version.strip() == "1.0.0"
    return lambda path, query: said(sys.executable, "-c", READ, str(path), query, env=environment)


def said(*command: str, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def plain(row: dict[str, Any]) -> dict[str, object]:
    """Numbers as numbers, and nothing as nothing, however they are printed."""
    return {name: number(value) for name, value in row.items()}


def number(value: object) -> object:
    if value in (None, "", "NULL"):
        return None
    try:
        return pytest.approx(float(str(value)), rel=1e-12)
    except ValueError:
        return value


# The questions of docs/questions.md, in the oldest DuckDB and the newest

PAGE = Path(__file__).parent.parent.parent / "docs" / "questions.md"
QUESTIONS = re.findall(r"^## (.*?)$.*?```sql\n(.*?)```", PAGE.read_text("utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


@pytest.mark.parametrize(("title", "query"), QUESTIONS, ids=[title for title, _ in QUESTIONS])
def test_a_question_has_an_answer(answered: Path, title: str, query: str) -> None:
    rows = answer(answered, query)
    assert rows
    for column in rows[0]:
        assert any(row[column] is not None for row in rows), column


MORE = (
    "select factor, algorithm, rho from correlate('one', null, 'flipped') order by all",
    "from correlate('set_sizes', null, 'all', target := 'points_lost') order by all",
    "select table_name, column_name, comment from duckdb_columns() where not internal "
    "and schema_name = 'main' order by all",
    "select algorithm, flipped, damaged, mean_gt from summaries(max_loss := 2) order by all",
)


@pytest.mark.parametrize("shell", [new_shell, old_shell])
def test_shells_answer_as_the_command_does(
    answered: Path, shell: Callable[[], Callable[[Path, str], str]]
) -> None:
    ask = shell()
    for title, query in (*QUESTIONS, *zip(MORE, MORE, strict=True)):
        found = csv.DictReader(io.StringIO(ask(answered, query)))
        assert [plain(row) for row in found] == [plain(row) for row in answer(answered, query)], (
            title
        )
