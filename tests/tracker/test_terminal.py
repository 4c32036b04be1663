"""Tables on a terminal, completion, and the names by which sweeps are asked for."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

import factors
from analysis.warehouse import rebuild
from tests.analysis.warehouses import PRE, staging, sweep_of
from tests.tracker.conftest import Done, Indelible
from tracker.cli import cli
from tracker.cli._output import Session

PRINTING = [
    *(("rank",), ("rank", "--algorithm", "ga"), ("sample", "{sample}"), ("agree",), ("models",)),
    *(("correlate",), ("correlate", "--cells", "interval"), ("correlate", "--cells", "p")),
    *(("compare",), ("factors",), ("algorithms",), ("sweeps",)),
    ("sql", "from attempts limit 2"),
]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose warehouse holds two sweeps, `one` of 30 samples and `other` of 20."""
    folder = tmp_path_factory.mktemp("two")
    one, other = sweep_of(0, 30, sweep="one"), sweep_of(1, 20, ("ga", "ft"), sweep="other")
    rebuild(folder / "analysis.duckdb", staging([*one, *other], PRE))
    return folder


@pytest.mark.parametrize("width", [80, 120])
def test_every_table_fits_the_terminal(
    done: Done, indelible: Indelible, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    sample = json.loads(indelible(done.folder, "rank", "--format", "json").out)[0]["sample_id"]
    monkeypatch.setenv("COLUMNS", str(width))
    for arguments in PRINTING:
        answer = indelible(done.folder, *(word.format(sample=sample) for word in arguments))
        assert answer.code == 0
        assert max(map(len, answer.out.splitlines())) <= width, arguments


def test_nothing_is_lost_where_a_table_is_narrow(
    done: Done, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = indelible(done.folder, "correlate").out
    monkeypatch.setenv("COLUMNS", "40")
    narrow = indelible(done.folder, "correlate").out
    assert max(map(len, narrow.splitlines())) <= 40
    titles = [column.title for column in factors.columns() if column.title in whole]
    assert len(titles) > 40
    joined = " ".join(narrow.split())
    assert [title for title in titles if title not in joined] == []
    rho = re.compile(r"[+-]\d\.\d{4}\**")
    assert sorted(rho.findall(narrow)) == sorted(rho.findall(whole))
    (row,) = json.loads(indelible(done.folder, "sql", "from sweeps", "--format", "json").out)
    record = "".join(indelible(done.folder, "sql", "from sweeps").out.split())
    del row["started_at"]  # which a table has in another format
    said = [part for part in [*row, *row.values()] if isinstance(part, str)]
    assert done.sweep in said
    assert [part for part in said if "".join(part.split()) not in record] == []


def test_every_answer_names_its_sweep(done: Done, two: Path, indelible: Indelible) -> None:
    name = f"({done.sweep[:8]}): ga, neggrad, scrub, salun on 8 samples"
    for command in ("rank", "correlate", "agree", "compare"):
        assert name in indelible(done.folder, command).err.splitlines()[0]
    assert "the latest of 2" in indelible(two, "rank").err
    assert indelible(two, "rank", "--sweep", "other").err.startswith("sweep other (other): ")


def test_two_sweeps_are_compared_with_intervals(two: Path, indelible: Indelible) -> None:
    rows = json.loads(indelible(two, "compare", "one", "other", "--format", "json").out)
    correlations = json.loads(indelible(two, "sql", "from correlations", "--format", "json").out)
    key = ("sweep_id", "population", "algorithm", "factor")
    own = {tuple(row[name] for name in key): row for row in correlations}
    assert {row["algorithm"] for row in rows} == {"ga"}
    bounded = 0
    for row in rows:
        a, b = (own[sweep, row["population"], "ga", row["factor"]] for sweep in ("one", "other"))
        assert (row["rho_a"], row["rho_b"]) == (a["rho"], b["rho"])
        if a["ci_low"] is None or b["ci_low"] is None:
            assert row["difference_low"] is row["apart"] is None
            continue
        bounded += 1
        difference = b["rho"] - a["rho"]
        below = math.hypot(b["rho"] - b["ci_low"], a["ci_high"] - a["rho"])
        above = math.hypot(b["ci_high"] - b["rho"], a["rho"] - a["ci_low"])
        found = [row[name] for name in ("difference", "difference_low", "difference_high")]
        assert found == pytest.approx([difference, difference - below, difference + above])
        assert row["apart"] == (found[1] > 0 or found[2] < 0)
        assert row["shared"] == 20
    assert bounded >= 10
    table = indelible(two, "compare", "one", "other")
    assert "30 and 20 samples" in table.out
    assert "sweeps share samples" in table.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("one",), "name two sweeps"),
        (("one", "one"), "are one sweep"),
        (("one", "other", "--against", "svhn"), "--against has no effect"),
    ],
)
def test_compare_takes_two_sweeps_or_the_paper(
    two: Path, indelible: Indelible, arguments: tuple[str, ...], said: str
) -> None:
    answer = indelible(two, "compare", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def offered(store: Path, *words: str) -> list[str]:
    """What a shell offers for the last of these words."""
    shell = ShellComplete(cli, {}, "indelible", "_INDELIBLE_COMPLETE")
    *before, begun = words
    return [item.value for item in shell.get_completions(["--store", str(store), *before], begun)]


def test_a_shell_completes_what_there_is_and_writes_nothing(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = Path(shutil.copytree(done.folder, tmp_path / "copy"))
    before = [(path, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())]
    (name,) = offered(folder, "rank", "--sweep", "ga-")
    assert offered(folder, "compare", "") == ["latest", name]
    assert offered(folder, "sweep", "--model", "base-") == ["base-digits-small-cnn-seed0"]
    assert offered(folder, "rank", "--algorithm", "scrub") == ["scrub", "scrub_r"]
    assert offered(folder, "train", "--dataset", "dig") == ["digits"]
    assert [(path, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())] == before
    assert offered(tmp_path / "none", "rank", "--sweep", "") == ["latest"]
    assert list(tmp_path.iterdir()) == [folder]


class Terminal(io.StringIO):
    """One that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_bars_are_drawn_only_where_they_can_be(
    monkeypatch: pytest.MonkeyPatch, terminal: str
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", terminal)
    monkeypatch.setattr(sys, "stderr", written := Terminal())
    session = Session(Path("s"), None, Path("data"), False, 60)
    with session.progress("drawing\x1b", 2) as advance:
        advance(1, "x")
        advance(1, "x")
    shown = written.getvalue()
    assert "\x1b" in shown if terminal == "xterm" else shown == "drawing\\x1b: 2 of 2, x\n"
