"""What a query may take, and that rows are printed and written while they come."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyarrow import parquet

from analysis.warehouse import rebuild
from tests.analysis.warehouses import PRE, staging, sweep_of
from tests.tracker.conftest import Indelible

ENDLESS = "select count(*) from range(1000000000000)"
ROWS = "from range(1000000000000)"
PATIENCE = 60  # seconds after which a limit has surely not held


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose warehouse holds a small sweep."""
    folder = tmp_path_factory.mktemp("store")
    rebuild(folder / "analysis.duckdb", staging(sweep_of(0, 6, ("ga", "salun")), PRE))
    return folder


def sql(store: Path, *arguments: object) -> list[str]:
    words = map(str, arguments)
    return [sys.executable, "-m", "indelible", "--store", str(store), "sql", *words]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


# Bad input: one clear line, and nothing is written


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sql", " ; -- nothing"), "the query is empty"),
        (("sql", "select 1; select 2", "--explain"), "only one query"),
        (("sql", "select 1", "--limit", str(2**31)), "--limit"),
        (("sql", "select 1", "--timeout", "nan"), "--timeout"),
        (("sql", "select 1", "--memory", "1MB"), "from 100MB"),
        (("sql", "select interval 1 day as i", "--output", "{folder}/x.parquet"), "Parquet"),
        (("sql", "select 1", "--output", f"{{folder}}/{'x' * 300}.csv"), "File name too long"),
        (("sql", "select 1\udcff"), "UTF-8"),
        (("rank", "--sweep", "a\x1b[2Jb\x9bc\x7f"), r"a\x1b[2Jb\x9bc\x7f"),
        (("sample", "9" * 30), "it takes a whole number"),
    ],
)
def test_bad_input_is_one_line(
    store: Path, tmp_path: Path, indelible: Indelible, arguments: tuple[str, ...], said: str
) -> None:
    answer = indelible(store, *(word.format(folder=tmp_path) for word in arguments))
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.splitlines()) == 1
    assert said in answer.err
    assert list(tmp_path.iterdir()) == []


# Limits


@pytest.mark.parametrize(
    "arguments",
    [
        (ENDLESS,),
        (ROWS, "--output", "{folder}/x.csv"),
        (f"analyze {ENDLESS}", "--explain"),
    ],
)
def test_a_query_ends_when_its_time_is_up(
    store: Path, tmp_path: Path, indelible: Indelible, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "x.csv").write_text("before")
    words = (word.format(folder=tmp_path) for word in arguments)
    answer = indelible(store, "sql", *words, "--timeout", 0.5)
    said = "indelible: the query took longer than 0.5 s\n"
    assert (answer.code, answer.out, answer.err) == (1, "", said)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


# A small process that starts another and prints its exit code and the most kilobytes that it had.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_memory_is_limited(store: Path) -> None:
    query = "select list(range) from range(1000000000)"
    answer = run([sys.executable, "-c", MEASURED, *sql(store, query, "--memory", "300MB")])
    assert answer.stderr == "indelible: the query needs more memory than 0.3 GB\n"
    code, largest = map(int, answer.stdout.split())
    assert code == 1
    assert largest < 500_000  # Python's own and DuckDB's among them
    assert [file.name for file in store.iterdir()] == ["analysis.duckdb"]


# While they come


def test_the_first_rows_are_there_before_the_last(store: Path) -> None:
    with subprocess.Popen(
        sql(store, ROWS, "--timeout", 50), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert all(process.stdout.readline() for _ in range(100))
        process.stdout.close()  # as `head` does
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_what_is_written_may_be_larger_than_memory(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    query = "select range as n, repeat('x', 1000) || range as text from range(400000)"
    answer = run(sql(store, query, "--memory", "250MB", "--output", path))
    assert (answer.returncode, answer.stderr) == (0, f"wrote {path}\n")
    assert parquet.ParquetFile(path).metadata.num_rows == 400_000


def test_blocks_of_rows_are_one_answer(store: Path, indelible: Indelible) -> None:
    query = "select range as n, range * range as square, 'a' as a from range(2500)"
    table = indelible(store, "sql", query).out.splitlines()
    assert len(table) == 3 * 2 + 2500  # each thousand has its head
    assert len({len(line) for line in table[-400:]}) == 1
    rows = json.loads(indelible(store, "sql", query, "--format", "json").out)
    assert [row["square"] for row in rows] == [n * n for n in range(2500)]
    text = indelible(store, "sql", query, "--format", "csv", "--limit", 1500).out
    assert [int(row["n"]) for row in csv.DictReader(io.StringIO(text))] == list(range(1500))
    assert json.loads(indelible(store, "sql", f"{query} limit 0", "--format", "json").out) == []


def test_a_slow_reader_is_not_the_querys_fault(store: Path) -> None:
    words = sql(store, "from range(200000)", "--format", "csv", "--timeout", 2)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        time.sleep(4)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert len(out.splitlines()) == 200_001


# Ctrl-C


def test_ctrl_c_stops_rows_without_end(store: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        sql(store, ROWS, "--format", "csv"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"range\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE / 2)
    assert (process.returncode, err.strip()) == (1, b"indelible: stopped")


# Names and values


def test_no_column_is_lost(store: Path, tmp_path: Path, indelible: Indelible) -> None:
    query = "select 1 a, 2 A, 3 a_2"
    (row,) = json.loads(indelible(store, "sql", query, "--format", "json").out)
    assert sorted(row.values()) == [1, 2, 3]
    assert len({name.lower() for name in row}) == 3
    assert indelible(store, "sql", query, "--output", tmp_path / "x.parquet").code == 0
    assert parquet.read_table(tmp_path / "x.parquet").to_pylist() == [row]


def test_json_has_every_value(store: Path, indelible: Indelible) -> None:
    values: dict[str, object] = {
        "['nan'::double, 1]": [None, 1.0],
        "{'a': 'inf'::double}": {"a": None},
        "map([date '2020-01-01'], [1])": {"2020-01-01": 1},
        "1.50::decimal(5, 2)": "1.50",
        "'ab'::blob": "b'ab'",
        "interval 1 day": "1 day, 0:00:00",
        "timestamp '2020-01-01'": "2020-01-01T00:00:00",
    }

    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = indelible(store, "sql", f"select {', '.join(values)}", "--format", "json").out
    (row,) = json.loads(text, parse_constant=refuse)
    assert list(row.values()) == list(values.values())
