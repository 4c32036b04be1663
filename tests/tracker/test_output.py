"""Where the output goes: closed pipes, terminals, and locales without letters."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from analysis.warehouse import rebuild
from tests.analysis.warehouses import PRE, staging, sweep_of
from tests.tracker.conftest import Indelible
from tracker.api import place
from tracker.cli._output import plain

NASTY = "a\x1b[31mb\x00\x07\x08\x7f\x9b2Jc\u202e\u2066"  # what a terminal obeys
SHOWN = r"a\x1b[31mb\x00\x07\x08\x7f\x9b2Jc\u202e\u2066"
QUERY = "select " + " || ".join(f"'{c}'" if c.isprintable() else f"chr({ord(c)})" for c in NASTY)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose warehouse holds a small sweep of the paper's algorithms."""
    folder = tmp_path_factory.mktemp("store")
    sweep = sweep_of(0, 6, ("ga", "neggrad", "salun", "scrub"))
    rebuild(folder / "analysis.duckdb", staging(sweep, PRE))
    return folder


def command(store: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "indelible", "--store", str(store), *arguments]


def called(store: Path, *arguments: str, **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """The command in a locale that has ASCII only."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = command(store, *arguments)
    return subprocess.run(words, env=environment, check=False, text=False, **pipes | streams)


def on_a_terminal(store: Path, *arguments: str) -> str:
    """What is shown on one, of both streams."""
    here, there = pty.openpty()
    with subprocess.Popen(command(store, *arguments), stdout=there, stderr=there):
        os.close(there)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while block := os.read(here, 4096):
                shown += block
    os.close(here)
    return shown.decode()


def test_a_reader_that_has_gone_is_no_mistake(store: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    answer = called(store, "sql", "from range(100000)", "--format", "csv", stdout=write)
    os.close(write)
    assert (answer.returncode, answer.stderr) == (1, b"")


# What a terminal obeys


@pytest.mark.parametrize("style", ["table", "json"])
def test_no_value_steers_a_terminal_and_only_one_gets_colours(
    store: Path, indelible: Indelible, style: str
) -> None:
    query = ("sql", f"{QUERY} as x", "--format", style)
    shown = on_a_terminal(store, *query)
    assert not set("\x00\x07\x08\x7f\x9b\u202e\u2066") & set(shown)
    assert "\x1b[31m" not in shown
    assert (SHOWN in shown) == ("\x1b[1m" in shown) == (style == "table")
    assert "\x1b" not in indelible(store, *query).out


def test_no_message_steers_a_terminal(store: Path, indelible: Indelible) -> None:
    for arguments in (
        ("sql", f"select error(({QUERY.replace('chr(0) || ', '')}))"),
        ("rank", f"--{NASTY}".replace("\x00", "")),
    ):
        shown = indelible(store, *arguments).err
        assert r"a\x1b[31mb" in shown
        assert len(shown.splitlines()) == 1
        assert not set("\x1b\x07\x08\x7f\x9b\u202e\u2066") & set(shown)


# Tables


def test_cells_are_one_line_numbers_to_the_right(store: Path, indelible: Indelible) -> None:
    query = "from (values ('a', 5), ('bcd', 1234567), (null, null)) as t (x, number)"
    heading, _, *lines = indelible(store, "sql", query).out.splitlines()
    assert heading == "x     number"
    assert lines == ["a          5", "bcd  1234567", "-          -"]
    query = "select 'a' || chr(10) || 'b' || chr(9) || 'c' || chr(13) as x"
    assert r"a\nb\tc\r" in indelible(store, "sql", query).out.splitlines()[2]


def test_csv_of_nothing_of_quotes_and_of_what_is_nested(store: Path, indelible: Indelible) -> None:
    def rows(query: str) -> list[dict[str, str]]:
        text = indelible(store, "sql", query, "--format", "csv").out
        return list(csv.DictReader(io.StringIO(text)))

    assert indelible(store, "sql", "select 1 as x limit 0", "--format", "csv").out == ""
    assert rows("select 'a,\"b' || chr(10) as x") == [{"x": 'a,"b\n'}]
    nested = "select map {'lr': '1e-3', 'a b': null} as x, [1.5, 'nan'::double, null] as y"
    (row,) = rows(nested)
    assert json.loads(row["x"]) == {"lr": "1e-3", "a b": None}
    assert json.loads(row["y"]) == [1.5, None, None]


NUMBERS = {
    1.0: "1",
    3.14159265: "3.142",
    0.99996: "0.99996",
    123456.7: "123456.7",
    1.23456e-300: "1.235e-300",
    2e12: "2e+12",
    float("-inf"): "-inf",
}


def test_no_number_is_rounded_to_a_whole_one() -> None:
    assert [plain(value) for value in NUMBERS] == [*NUMBERS.values()]


def test_parquet_has_whole_numbers_of_any_size_and_says_what_it_cannot_hold(
    store: Path, tmp_path: Path, indelible: Indelible
) -> None:
    file = ("--output", tmp_path / "x.parquet")
    query = "select sum(i) as n, [1::hugeint] as m from range(4) as t (i)"
    assert indelible(store, "sql", query, *file).code == 0
    assert parquet.read_table(tmp_path / "x.parquet").to_pylist() == [{"n": 6, "m": [1]}]
    answer = indelible(store, "sql", "select interval 3 month as x", *file)
    assert (answer.code, answer.out) == (2, "")
    assert "Parquet cannot hold a column" in answer.err


# Remarks and progress


def test_answers_say_that_a_sweep_is_not_finished(
    store: Path, tmp_path: Path, indelible: Indelible
) -> None:
    tables = staging(sweep_of(0, 6, ("ga",)), PRE)
    tables["runs"] = tables["runs"].slice(0, tables["runs"].num_rows - 1)
    rebuild(tmp_path / "analysis.duckdb", tables)
    assert "5 of 6 planned attempts are finished" in indelible(tmp_path, "rank").err
    assert "planned attempts" not in indelible(store, "rank").err


def test_without_a_terminal_progress_is_plain_lines(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "EVERY_S", 0.0)
    answer = indelible(tmp_path, "train", "--epochs", 2)
    said = [line for line in answer.err.splitlines() if line.startswith("training")]
    loss = r"loss \d+\.\d{4}"
    expected = [rf"1 of 2, {loss}, \d+:\d\d:\d\d left", f"2 of 2, {loss}"]
    for line, pattern in zip(said, expected, strict=True):
        assert re.fullmatch(f"training: epoch {pattern}", line)
    again = indelible(tmp_path, "train", "--epochs", 2)
    assert re.search(r"-seed0: \d+\.\d% of the training set right, \d+\.\d% of", again.err)
    assert again.err.count("training: epoch 2 of 2, found\n") == 1
