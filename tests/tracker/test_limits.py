"""What a query may take, and that rows are printed and written while they come."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from pathlib import Path
from threading import Timer

import pytest
from pyarrow import parquet

from analysis.warehouse import rebuild
from tests.analysis.warehouses import PRE, staging, sweep_of
from tests.tracker.conftest import Indelible

ENDLESS = "select count(*) from range(1000000000000)"
ROWS = "from range(1000000000000)"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose warehouse holds a small sweep."""
    folder = tmp_path_factory.mktemp("store")
    rebuild(folder / "analysis.duckdb", staging(sweep_of(0, 6, ("ga", "salun")), PRE))
    return folder


# Bad input: one clear line, and nothing is written


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sql", "select 1; select 2", "--explain"), "only one query"),
        (("sql", "select 1", "--memory", "1MB"), "from 100MB"),
        (("sql", "select interval 1 day as i", "--output", "{folder}/x.parquet"), "Parquet"),
        (("sql", "select 1\udcff"), "UTF-8"),
        (("rank", "--sweep", "a\x1b[2Jb\x9bc\x7f"), r"a\x1b[2Jb\x9bc\x7f"),
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


def test_a_query_ends_when_its_time_is_up(
    store: Path, tmp_path: Path, indelible: Indelible
) -> None:
    (tmp_path / "x.csv").write_text("before")
    for words in ((ROWS, "--output", tmp_path / "x.csv"), (f"analyze {ENDLESS}", "--explain")):
        answer = indelible(store, "sql", *words, "--timeout", 0.2)
        said = "indelible: the query took longer than 0.2 s\n"
        assert (answer.code, answer.out, answer.err) == (1, "", said)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_memory_is_limited(store: Path, tmp_path: Path, indelible: Indelible) -> None:
    query = "select list(range) from range(1000000000)"
    answer = indelible(store, "sql", query, "--memory", "300MB")
    assert answer.err == "indelible: the query needs more memory than 0.3 GB\n"
    assert (answer.code, answer.out) == (1, "")
    # What is written may be larger.
    path = tmp_path / "x.parquet"
    query = "select range as n, repeat('x', 1000) || range as text from range(250000)"
    answer = indelible(store, "sql", query, "--memory", "150MB", "--output", path)
    assert (answer.code, answer.err) == (0, f"wrote {path}\n")
    assert parquet.ParquetFile(path).metadata.num_rows == 250_000
    assert [file.name for file in store.iterdir()] == ["analysis.duckdb"]


def test_ctrl_c_stops_a_query(store: Path, indelible: Indelible) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        answer = indelible(store, "sql", ENDLESS, "--timeout", 60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (answer.code, answer.out, answer.err.strip()) == (1, "", "indelible: stopped")


# While they come


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
