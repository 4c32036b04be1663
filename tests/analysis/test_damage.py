"""A warehouse that is damaged, held by another process, or has no place to be written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from analysis.warehouse import changes, open_warehouse, rebuild
from tests.analysis.test_relations import PRE, sweep_of
from tests.analysis.warehouses import staging
from tests.mounts import mounted
from unlearning.errors import Failure, UserError

ROWS = staging(sweep_of(0, 8, ("ga", "salun")), PRE)
NOTHING = {name: table.slice(0, 0) for name, table in ROWS.items()}
RUNS = ROWS["runs"]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a warehouse."""
    path = tmp_path_factory.mktemp("whole") / "w.duckdb"
    rebuild(path, ROWS)
    return path.read_bytes()


def cut(content: bytes, at: float) -> bytes:
    return content[: int(len(content) * at)]


@pytest.mark.parametrize("at", [0.3, 0.9])
def test_a_damaged_warehouse_cannot_be_taken_over(
    tmp_path: Path, content: bytes, at: float
) -> None:
    path = tmp_path / "w.duckdb"
    path.write_bytes(cut(content, at))
    before = path.read_bytes()
    with pytest.raises(UserError, match="delete it and run 'indelible load'"):
        rebuild(path, NOTHING, forget=[])
    assert path.read_bytes() == before
    rebuild(path, ROWS)
    assert changes(path, RUNS) is not None
    assert list(tmp_path.iterdir()) == [path]


HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("create table mine as select 1")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Another process has the warehouse open for writing; its id."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.kill()


def attempts(path: Path) -> Iterator[Callable[[], object]]:
    """Everything that opens a warehouse."""

    def ask_it() -> None:
        with open_warehouse(path):
            pass

    yield ask_it
    yield lambda: changes(path, RUNS)
    yield lambda: rebuild(path, ROWS)
    yield lambda: rebuild(path, NOTHING, forget=[])


def test_a_warehouse_in_use_says_by_whom(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w: a.duckdb"
    path.write_bytes(content)
    with held(path) as process:
        for attempt in attempts(path):
            with pytest.raises(Failure, match=f"PID {process}") as refusal:
                attempt()
            assert "delete" not in str(refusal.value)
            assert "\n" not in str(refusal.value)
        assert path.read_bytes() == content


def test_what_a_killed_shell_left_does_not_get_into_the_next(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "w.duckdb"
    path.write_bytes(content)
    with held(path):
        pass
    assert (tmp_path / "w.duckdb.wal").exists()
    rebuild(path, ROWS)
    with open_warehouse(path) as opened:
        names = opened.query("select table_name from duckdb_tables()").rows
    assert ("outcomes",) in names
    assert ("mine",) not in names
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", ["3m"])
def test_a_full_disk_is_said_and_the_old_warehouse_stays(
    tmp_path: Path, content: bytes, size: str
) -> None:
    with mounted(tmp_path / "small", f"size={size}") as folder:
        with pytest.raises(Failure, match="cannot be written: No space left on device"):
            rebuild(folder / "w.duckdb", ROWS)
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["w.duckdb", "new/w.duckdb"])
def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, content: bytes, name: str
) -> None:
    with mounted(tmp_path / "fixed", "size=30m") as folder:
        (folder / "w.duckdb").write_bytes(content)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(UserError, match="cannot be written: Read-only file system"):
            rebuild(folder / name, ROWS)
        assert changes(folder / "w.duckdb", RUNS) is not None


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300) / "w.duckdb"
    with pytest.raises(UserError, match="File name too long"), open_warehouse(path):
        pass
    with pytest.raises(UserError, match="File name too long"):
        rebuild(path, ROWS)
