"""Others can read what we write: DuckDB's shells, the newest and the first that is to be read."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.warehouse import open_warehouse, rebuild
from tests.analysis.test_relations import PRE, sweep_of
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


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shells") / "w.duckdb"
    rebuild(path, staging(sweep_of(0, 30, ("ga", "salun")), PRE))
    return path


@pytest.mark.parametrize("shell", [new_shell, old_shell])
@pytest.mark.parametrize(
    "query",
    [
        "select run_id, algorithm, sample_id, gt from outcomes order by run_id",
        "select algorithm, factor, population, rho, n from correlations order by all",
        "select factor, algorithm, rho from correlate('one', null, 'flipped') order by all",
        "select table_name, column_name, comment from duckdb_columns() where not internal "
        "and schema_name = 'main' order by all",
        "select algorithm, flipped, damaged, mean_gt from summaries(max_loss := 2) order by all",
    ],
)
def test_a_shell_reads_the_warehouse(
    path: Path, shell: Callable[[], Callable[[Path, str], str]], query: str
) -> None:
    rows = list(csv.DictReader(io.StringIO(shell()(path, query))))
    with open_warehouse(path) as warehouse:
        expected = warehouse.query(query).records()
    assert [plain(row) for row in rows] == [plain(row) for row in expected]
    assert rows


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
