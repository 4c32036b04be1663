"""The file of a warehouse: what may be asked of it, what it survives, and what is said of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from analysis import connecting
from analysis import warehouse as sources
from analysis.connecting import Limits
from analysis.meanings import statements
from analysis.warehouse import Changes, changes, open_warehouse, rebuild
from tests.analysis.warehouses import PRE, staging, sweep_of
from tests.mounts import mounted
from unlearning.errors import Failure, UserError

ROWS = staging(sweep_of(0, 8), PRE)
NOTHING = {name: table.slice(0, 0) for name, table in ROWS.items()}
RUNS = ROWS["runs"]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a warehouse."""
    path = tmp_path_factory.mktemp("whole") / "w.duckdb"
    rebuild(path, ROWS)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> Path:
    """A warehouse, whose name a message has to quote well."""
    path = tmp_path / "w: a.duckdb"
    path.write_bytes(content)
    return path


# Asking


def test_the_file_needs_nothing_of_ours(path: Path) -> None:
    with duckdb.connect(str(path), read_only=True) as plain_shell:
        rows = plain_shell.execute("select rho, p_value from correlations").fetchall()
        again = plain_shell.execute("select rho from correlate('set_sizes', null, 'all')")
        assert 3 * len(again.fetchall()) == len(rows) > 0
        wrong_target = "'one', null, 'all', target := 'bogus'"
        for wrong in ("'bogus', null, 'all'", "'one', null, 'bogus'", wrong_target):
            with pytest.raises(duckdb.Error, match=r"all, flipped|set_sizes, mean_ratio|gt, z"):
                plain_shell.execute(f"from correlate({wrong})").fetchall()


def test_queries_can_only_read_the_warehouse(path: Path) -> None:
    secret_rows = {"python": ["variables are no tables"]}
    with open_warehouse(path) as warehouse:
        for query in (
            *("selec 1", "select * from nowhere", "insert into sweeps select * from sweeps"),
            *("create table t as select 1", "drop table outcomes", "from '/etc/passwd'"),
            *("select * from read_csv('/etc/passwd')", "copy outcomes to '/tmp/stolen.csv'"),
            *("attach '/tmp/other.duckdb'", "install httpfs", "set enable_external_access = true"),
            *("select content from read_text('/etc/hostname')", "from secret_rows"),
        ):
            with pytest.raises(UserError, match="the query failed") as refusal:
                warehouse.query(query)
            assert "\n" not in str(refusal.value)
        assert warehouse.query("select count(*) from attempts").rows == [(16,)]
    assert secret_rows


def test_an_older_warehouse_is_said_and_made_anew(path: Path) -> None:
    assert changes(path, RUNS) == Changes([], [])
    with duckdb.connect(str(path)) as shell:
        shell.execute("update staging.made_by set sha256 = 'of another version'")
        shell.execute("alter table sweeps drop column planned")
    with open_warehouse(path) as warehouse:
        with pytest.raises(UserError, match="indelible load"):
            warehouse.report("sweeps")
        assert warehouse.query("select count(*) from attempts").rows == [(16,)]
    assert changes(path, RUNS) is None
    with duckdb.connect(str(path)) as shell:
        shell.execute("drop table staging.made_by")
    assert changes(path, RUNS) is None


# Opening


def opened_twice(path: Path) -> None:
    with open_warehouse(path), open_warehouse(path, Limits(memory=2**30)) as again:
        assert again.query("select count(p_value) from correlations").columns


def test_a_warehouse_that_is_open_is_opened_again_or_said_to_be_open(path: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(opened_twice, path) for _ in range(4)]:
            done.result()
    with duckdb.connect(str(path), read_only=True):
        opened_twice(path)
    with (
        duckdb.connect(str(path)),
        pytest.raises(Failure, match="open for writing in this very process"),
    ):
        opened_twice(path)


def test_what_cannot_be_opened_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"this is no database" * 1000)
    for name, said in {
        "missing": "indelible load",
        "text": "not a warehouse",
        "x" * 300: "File name too long",
    }.items():
        with pytest.raises(UserError, match=said) as refusal, open_warehouse(tmp_path / name):
            pass
        assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match="File name too long"):
        rebuild(tmp_path / ("x" * 300), ROWS)


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


def test_a_warehouse_in_use_says_by_whom_and_what_a_killed_shell_left_goes(
    path: Path, content: bytes
) -> None:
    def ask_it() -> None:
        with open_warehouse(path):
            pass

    attempts: tuple[Callable[[], object], ...] = (
        *(ask_it, lambda: changes(path, RUNS), lambda: rebuild(path, ROWS)),
        lambda: rebuild(path, NOTHING, forget=[]),
    )
    with held(path) as process:
        for attempt in attempts:
            with pytest.raises(Failure, match=f"PID {process}") as refusal:
                attempt()
            assert "delete" not in str(refusal.value)
            assert "\n" not in str(refusal.value)
        assert path.read_bytes() == content
    assert path.with_name(f"{path.name}.wal").exists()
    rebuild(path, ROWS)
    with open_warehouse(path) as opened:
        names = opened.query("select table_name from duckdb_tables()").rows
    assert ("outcomes",) in names
    assert ("mine",) not in names
    assert list(path.parent.iterdir()) == [path]


# Writing


def test_rebuild_leaves_the_old_warehouse_whole_when_it_fails(
    path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = path.with_name("broken.sql")
    broken.write_text("create table x as from nothing_at_all")
    monkeypatch.setattr(sources, "statements", lambda: [*statements(), broken])
    with pytest.raises(duckdb.Error):
        rebuild(path, ROWS)
    broken.unlink()
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("at", [0.3, 0.9])
def test_a_damaged_warehouse_cannot_be_taken_over(path: Path, content: bytes, at: float) -> None:
    before = content[: int(len(content) * at)]
    path.write_bytes(before)
    with pytest.raises(UserError, match="delete it and run 'indelible load'"):
        rebuild(path, NOTHING, forget=[])
    assert path.read_bytes() == before
    rebuild(path, ROWS)
    assert changes(path, RUNS) is not None


def test_where_it_cannot_be_written_that_is_said_and_the_old_stays(
    tmp_path: Path, content: bytes
) -> None:
    with mounted(tmp_path / "small", "size=3m") as folder:
        with pytest.raises(Failure, match="cannot be written: No space left on device"):
            rebuild(folder / "w.duckdb", ROWS)
        assert list(folder.iterdir()) == []
    with mounted(tmp_path / "fixed", "size=30m") as folder:
        (folder / "w.duckdb").write_bytes(content)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        for name in ("w.duckdb", "new/w.duckdb"):
            with pytest.raises(UserError, match="cannot be written: Read-only file system"):
                rebuild(folder / name, ROWS)
        assert changes(folder / "w.duckdb", RUNS) is not None


SLOW = """
    select count(*)
    from range(1500) as a(a), range(1500) as b(b), range(1500) as c(c)
    where a + b < c
"""


def test_a_signal_while_duckdb_is_at_work(tmp_path: Path) -> None:
    """DuckDB makes a RuntimeError of what the handler raises, as of Ctrl-C."""
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))

    def work() -> None:
        with connecting.writing(tmp_path / "w", "w") as connection:
            timer.start()  # not before: connecting would lose the signal
            connection.execute(SLOW)

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_what_has_no_room_in_little_memory_gets_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "MEMORY", "20MB")
    numbers = "select list(range) as numbers from range(3_000_000)"
    with connecting.writing(tmp_path / "w.duckdb", "it") as connection:
        with pytest.raises(duckdb.OutOfMemoryException):
            connection.execute(f"create table refused as {numbers}")
        first = "create table first as select 1 as n"  # which is made again
        connecting.with_room(connection, [first, f"create table t as {numbers}"])
        assert connection.execute("from first").fetchall() == [(1,)]
        assert connection.execute("select len(numbers) from t").fetchall() == [(3_000_000,)]


def test_what_is_asked_in_little_memory_waits_on_the_disk_or_gets_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, reports = tmp_path / "w.duckdb", tmp_path / "reports"
    rebuild(file, staging(sweep_of(0, 4), PRE))
    reports.mkdir()
    ordered = "select range as n, row_number() over (order by hash(range)) as place"
    sql = {
        "sorted": f"select sum(n * place) from ({ordered} from range(2_000_000))",
        "list": "select len(list(range)) from range(20_000_000)",
    }
    for name, statement in sql.items():
        (reports / f"{name}.sql").write_text(statement)
    expected = [duckdb.execute(statement).fetchall() for statement in sql.values()]
    monkeypatch.setattr(sources, "SQL", tmp_path)
    monkeypatch.setattr(sources, "MEMORY", "60MB")
    with open_warehouse(file) as asked:
        assert asked.connection.execute(sql["sorted"]).fetchall() == expected[0]
        with pytest.raises(duckdb.OutOfMemoryException):
            asked.connection.execute(sql["list"])
        assert [asked.report(name).rows for name in sql] == expected


def test_a_warehouse_made_in_little_memory_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = staging(sweep_of(0, 60), PRE)
    rebuild(tmp_path / "one.duckdb", tables)
    monkeypatch.setattr(connecting, "MEMORY", "20MB")
    monkeypatch.setattr(sources, "MANY", 1)  # a transaction a relation
    parts = [
        {name: table.slice(start, 97) for name, table in tables.items()}
        for start in range(0, max(table.num_rows for table in tables.values()), 97)
    ]
    empty = {name: table.schema.empty_table() for name, table in tables.items()}
    rebuild(tmp_path / "other.duckdb", empty, more=parts)
    found = []
    for name in ("one.duckdb", "other.duckdb"):
        with open_warehouse(tmp_path / name) as warehouse:
            found.append(warehouse.query("select * from correlations order by all").rows)
    assert found[0] == found[1] != []
