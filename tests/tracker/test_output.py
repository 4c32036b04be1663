"""Where the output goes: full devices, closed pipes, terminals, and locales without letters."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from analysis.warehouse import rebuild
from tests.analysis.test_relations import PRE, sweep_of
from tests.analysis.warehouses import staging
from tests.tracker.conftest import Indelible
from tracker.cli._output import plain
from tracker.face import progress
from tracker.store.opening import open_store
from tracker.store.records import Kind

NASTY = "a\x1b[31mb\x00\x07\x08\x7f\x9b2Jc\u202e\u2066"  # what a terminal obeys
SHOWN = r"a\x1b[31mb\x00\x07\x08\x7f\x9b2Jc\u202e\u2066"
QUERY = "select " + " || ".join(f"'{c}'" if c.isprintable() else f"chr({ord(c)})" for c in NASTY)
ASCII = {"PYTHONIOENCODING": "ascii"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PRINTING = [
    ("--help",),
    ("--version",),
    ("sql", "--help"),
    ("sql", "select 1"),
    ("sql", "select 1", "--explain"),
    ("sql", "select 1", "--format", "json"),
    ("sql", "from range(5000)", "--format", "csv"),
    ("schema",),
    ("rank",),
    ("correlate",),
    ("correlate", "--format", "csv"),
    ("agree",),
    ("compare", "--against", "svhn"),
    ("sample", "3"),
    ("algorithms",),
    ("factors",),
    ("report", "--output", "{folder}/report"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose warehouse holds a small sweep of the paper's algorithms."""
    folder = tmp_path_factory.mktemp("store")
    sweep = sweep_of(0, 6, ("ga", "neggrad", "salun", "scrub"))
    rebuild(folder / "analysis.duckdb", staging(sweep, PRE))
    return folder


def command(store: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "indelible", "--store", str(store), *arguments]


def called(
    store: Path, *arguments: str, env: Mapping[str, str] | None = None, **streams: Any
) -> subprocess.CompletedProcess[bytes]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, **(env or {})}
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


# What cannot be written


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_full_device_is_one_line(store: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    words = [word.format(folder=tmp_path) for word in arguments]
    with Path("/dev/full").open("wb") as full:
        answer = called(store, *words, stdout=full)
    last = answer.stderr.splitlines()[-1]
    assert answer.returncode == 1
    assert last == b"indelible: the output cannot be written: No space left on device"
    assert b"Traceback" not in answer.stderr
    assert b"Exception ignored" not in answer.stderr


def test_nowhere_to_say_it_is_no_traceback(store: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        answer = called(store, "sql", "selec 1", stderr=full)
    assert (answer.returncode, answer.stdout) == (2, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ("sql", "from range(100000)"),
        ("sql", "from range(100000)", "--format", "csv"),
        ("sql", "from range(100000)", "--format", "json"),
        ("schema", "--format", "csv"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_a_reader_that_has_gone_is_no_mistake(store: Path, arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    answer = called(store, *arguments, stdout=write)
    os.close(write)
    assert (answer.returncode, answer.stderr) == (1, b"")


def test_a_process_without_stdout_says_so(store: Path) -> None:
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command(store, "sql", "select 1")]
    answer = subprocess.run(closed, capture_output=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr == b"indelible: the output cannot be written: Bad file descriptor\n"


# What a terminal obeys


@pytest.mark.parametrize("style", ["table", "csv", "json"])
def test_no_value_steers_a_terminal(store: Path, style: str) -> None:
    shown = on_a_terminal(store, "sql", f"{QUERY} as x", "--format", style)
    assert "\x1b[31m" not in shown
    assert not set("\x00\x07\x08\x7f\x9b\u202e\u2066") & set(shown)
    assert "31mb" in shown
    if style != "json":
        assert SHOWN in shown


def test_no_message_steers_a_terminal(store: Path) -> None:
    asked = QUERY.replace("chr(0) || ", "")
    for arguments in (
        ("sql", f"select error(({asked}))"),
        ("rank", "--sweep", NASTY.replace("\x00", "")),
        ("rank", f"--{NASTY}".replace("\x00", "")),
    ):
        shown = on_a_terminal(store, *arguments)
        assert r"a\x1b[31mb" in shown
        assert len(shown.splitlines()) == 1
        assert not set("\x1b\x07\x08\x7f\x9b\u202e\u2066") & set(shown)


def test_values_for_machines_stay_as_they_are(store: Path, tmp_path: Path) -> None:
    answer = called(store, "sql", f"{QUERY} as x", "--format", "csv")
    assert answer.stdout.decode() == f"x\n{NASTY}\n"
    path = tmp_path / "x.csv"
    called(store, "sql", f"{QUERY} as x", "--output", str(path))
    assert path.read_bytes() == answer.stdout


def test_a_cell_is_one_line(store: Path, indelible: Indelible) -> None:
    query = "select 'a' || chr(10) || 'b' || chr(9) || 'c' || chr(13) as x"
    assert r"a\nb\tc\r" in indelible(store, "sql", query).out.splitlines()[2]


def test_colours_still_reach_a_terminal(store: Path) -> None:
    assert "\x1b[" in on_a_terminal(store, "correlate")
    assert b"\x1b" not in called(store, "correlate").stdout


# Locales


@pytest.mark.parametrize("environment", [ASCII, C_LOCALE], ids=["ascii", "C"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("sql", "select 1", "--explain"),
        ("schema",),
        ("correlate",),
        ("compare", "--against", "svhn"),
        ("algorithms",),
        ("sql", "select 'ρ' as x"),
        ("sql", "select 'ρ' as \"λ\""),
        ("sql", "select error('ρ')"),
    ],
    ids=" ".join,
)
def test_letters_that_a_locale_lacks_are_written_out(
    store: Path, environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    answer = called(store, *arguments, env=environment)
    assert b"Traceback" not in answer.stderr
    assert (answer.stdout + answer.stderr).isascii()
    assert answer.returncode == (2 if "error" in arguments[-1] else 0)
    if "ρ" in arguments[-1]:
        assert rb"\u03c1" in answer.stdout + answer.stderr


@pytest.mark.parametrize("environment", [ASCII, C_LOCALE], ids=["ascii", "C"])
def test_data_is_utf8_where_the_locale_has_no_letters(
    store: Path, environment: dict[str, str]
) -> None:
    answer = called(store, "sql", "select 'ρ' as x", "--format", "csv", env=environment)
    assert (answer.returncode, answer.stdout.decode()) == (0, "x\nρ\n")


# Tables


def test_numbers_are_to_the_right_and_text_to_the_left(store: Path, indelible: Indelible) -> None:
    query = "from (values ('a', 5), ('bcd', 1234567), (null, null)) as t (x, number)"
    heading, _, *lines = indelible(store, "sql", query).out.splitlines()
    assert heading == "x     number"
    assert lines == ["a          5", "bcd  1234567", "-          -"]


def test_csv_of_nothing_and_of_quotes(store: Path, indelible: Indelible) -> None:
    assert indelible(store, "sql", "select 1 as x limit 0", "--format", "csv").out == ""
    text = indelible(store, "sql", "select 'a,\"b' || chr(10) as x", "--format", "csv").out
    assert list(csv.DictReader(io.StringIO(text))) == [{"x": 'a,"b\n'}]


def test_what_is_nested_is_json_in_csv(store: Path, indelible: Indelible) -> None:
    nested = "select map {'lr': '1e-3', 'a b': null} as x, [1.5, 'nan'::double, null] as y"
    (row,) = csv.DictReader(io.StringIO(indelible(store, "sql", nested, "--format", "csv").out))
    assert json.loads(row["x"]) == {"lr": "1e-3", "a b": None}
    assert json.loads(row["y"]) == [1.5, None, None]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.0, "1"),
        (-3.0, "-3"),
        (0.5, "0.5"),
        (3.14159265, "3.142"),
        (0.99996, "0.99996"),
        (0.9999999, "0.9999999"),
        (99.99996, "99.99996"),
        (-12345.5, "-12345.5"),
        (123456.7, "123456.7"),
        (1e-7, "1e-07"),
        (1.23456e-300, "1.235e-300"),
        (2e12, "2e+12"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_no_number_is_rounded_to_a_whole_one(value: float, shown: str) -> None:
    assert plain(value) == shown


@pytest.mark.parametrize("kind", ["hugeint", "uhugeint", "hugeint[]"])
def test_whole_numbers_that_parquet_cannot_hold(
    store: Path, tmp_path: Path, indelible: Indelible, kind: str
) -> None:
    query = f"select cast({'[1]' if '[' in kind else '1'} as {kind}) as n"
    answer = indelible(store, "sql", query, "--output", tmp_path / "x.parquet")
    assert (answer.code, answer.out) == (2, "")
    assert "Parquet cannot hold a column: 'n' is" in answer.err
    assert not (tmp_path / "x.parquet").exists()
    assert indelible(store, "sql", query, "--output", tmp_path / "x.csv").code == 0


# Warehouses that are not the store's


@pytest.mark.slow
def test_answers_say_that_the_store_has_changed(tmp_path: Path, indelible: Indelible) -> None:
    words = "the store has changed since the warehouse was loaded"
    for arguments in (("train", "--epochs", 2), ("sweep", "--algorithm", "ga", "--samples", 3)):
        assert indelible(tmp_path, *arguments).code == 0
    assert indelible(tmp_path, "load").code == 0
    assert words not in indelible(tmp_path, "rank").err
    again = ("sweep", "--algorithm", "ga", "--samples", 3, "--again")
    for change in (("sweep", "--algorithm", "ft", "--samples", 2), again):
        assert indelible(tmp_path, *change).code == 0
        for command in (("rank",), ("correlate",), ("sql", "from sweeps"), ("report",)):
            answer = indelible(tmp_path, *command)
            assert answer.code == 0
            assert words in answer.err
        assert indelible(tmp_path, "load").code == 0
        assert words not in indelible(tmp_path, "rank").err
    refused = indelible(tmp_path, "--tracking-uri", "bogus://", "rank")
    assert (refused.code, refused.out) == (2, "")


@pytest.mark.slow
def test_the_warehouse_of_another_store_does_not_answer(
    tmp_path: Path, indelible: Indelible
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, seed in ((one, 0), (other, 1)):
        assert indelible(folder, "train", "--epochs", 2, "--seed", seed).code == 0
        assert indelible(folder, "sweep", "--algorithm", "ga", "--samples", 3).code == 0
        assert indelible(folder, "load").code == 0
    shutil.copy(one / "analysis.duckdb", other)
    refused = indelible(other, "rank")
    assert (refused.code, refused.out) == (2, "")
    assert "is another store's: 'indelible load'" in refused.err
    assert indelible(other, "load").code == 0
    assert indelible(other, "rank").code == 0
    assert indelible(other, "check").code == 0


def test_answers_say_that_a_sweep_is_not_finished(tmp_path: Path, indelible: Indelible) -> None:
    assert indelible(tmp_path, "train", "--epochs", 2).code == 0
    sweep = indelible(tmp_path, "sweep", "--algorithm", "ga", "--samples", 4)
    store = open_store(tmp_path)
    gone = next(iter(store.finished_runs(Kind.MEMBER)))
    store.discard([gone.info.run_id])
    assert indelible(tmp_path, "load").code == 0
    for command in (("rank",), ("correlate",), ("agree",), ("report",)):
        assert "3 of 4 planned attempts are finished" in indelible(tmp_path, *command).err
    assert indelible(tmp_path, "sweep", "--algorithm", "ga", "--samples", 4).id == sweep.id


def test_without_a_terminal_progress_is_plain_lines(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert indelible(tmp_path, "train", "--epochs", 3).err.count("training: ") == 1
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    answer = indelible(tmp_path, "train", "--epochs", 3, "--seed", 1)
    said = [line for line in answer.err.splitlines() if line.startswith("training")]
    loss, left = r"loss \d+\.\d{4}", r"\d+:\d\d:\d\d left"
    expected = [f"1 of 3, {loss}, {left}", f"2 of 3, {loss}, {left}", f"3 of 3, {loss}"]
    for line, pattern in zip(said, expected, strict=True):
        assert re.fullmatch(f"training: epoch {pattern}", line)
    again = indelible(tmp_path, "train", "--epochs", 3, "--seed", 1)
    assert re.search(r"-seed1: \d+\.\d% of the training set right, \d+\.\d% of", again.err)
    assert again.err.count("training: epoch 3 of 3, found\n") == 1


def test_what_is_said_of_a_sweep_comes_after_its_last_line(
    tmp_path: Path, indelible: Indelible
) -> None:
    assert indelible(tmp_path, "train", "--epochs", 2).code == 0
    sweep: tuple[str | int, ...] = ("sweep", "--algorithm", "ga", "--samples", 4)
    sweep = (*sweep, "--only-correct", "--set", "ga.lr=1e-30")
    said = indelible(tmp_path, *sweep).err.splitlines()
    (last,) = (k for k, line in enumerate(said) if line.startswith("unlearning: "))
    (advice,) = (k for k, line in enumerate(said) if "try a higher" in line)
    assert said[last].startswith("unlearning: 4 of 4")
    assert last < advice
    assert indelible(tmp_path, *sweep).err.count("unlearning: 4 of 4") == 1
