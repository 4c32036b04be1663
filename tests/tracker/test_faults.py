"""Kills at any moment lose nothing and double nothing; nor do Ctrl-C or a full disk."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests import forked
from tests.forked import succeed
from tests.mounts import mounted
from tests.processes import interruptible
from tests.tracker import dying
from tests.tracker.conftest import own_copy
from tracker.base import base_models, references
from tracker.cli import run
from tracker.store.opening import open_reader, open_store
from tracker.studies.audit import PICTURE
from tracker.studies.audited import read_audited

pytestmark = pytest.mark.faults

ALGORITHMS = ("ga", "salun")
MEMBERS = """
    select r.name, r.status from runs as r join tags as t on t.run_uuid = r.run_uuid
    where t.key = 'kind' and t.value = 'member'
"""


def sweep_of(samples: int, *more: str) -> list[str]:
    # One by one, so that no number depends on which of a chunk are done already.
    words = ["sweep", "--samples", str(samples), "--chunk", "2", "--execution", "sequential"]
    return [*words, *(word for name in ALGORITHMS for word in ("--algorithm", name)), *more]


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        return connection.execute(query).fetchall()


def called(folder: Path, *words: str) -> int:
    return run(["--store", str(folder), *words])


# Sweep, kill, resume, merge and prune, in any order

# Two sweeps with members in common; what one wants, the other does not keep.
SWEEPS = {
    "small": sweep_of(3, "--name", "small"),
    "large": sweep_of(4, "--name", "large", "--checkpoints", "hardest:1"),
}
MOMENTS = st.one_of(
    st.tuples(st.just("transaction"), st.integers(1, 7)),  # tables of a chunk
    st.tuples(st.sampled_from(["commit", "artifact"]), st.integers(1, 4)),
    st.tuples(st.sampled_from(["draft", "disk"]), st.integers(1, 8)),
)
STORES = st.sampled_from(["here", "there"])
LEFT = {"orphan_folder", "stray_file"}  # what kills leave lying about, which harms nobody
NUMBERS = ("gt", "cost/steps", "forget_prob")


def members(folder: Path) -> dict[str, tuple[str, ...]]:
    """What the members in a store came to, by key."""
    reader = open_reader(folder)
    found = [run for run in reader.of_kind("member") if run.status == "FINISHED"]
    keys = Counter(run.tags["key"] for run in found)
    assert {*keys.values()} <= {1}, "doubled"
    for member in found:
        assert member.metrics, "half-written"
    return {m.tags["key"]: tuple(str(m.metrics.get(name)) for name in NUMBERS) for m in found}


class Stores(RuleBasedStateMachine):
    """Two stores with one base model, in which commands are run and killed."""

    trained: ClassVar[Path]
    expected: ClassVar[dict[str, tuple[str, ...]]]  # of both sweeps, undisturbed
    kills: ClassVar[Counter[bool]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.folders = {name: self.root / name for name in ("here", "there")}
        self.seen: dict[str, set[str]] = {}
        for name, folder in self.folders.items():
            own_copy(self.trained, folder)
            self.seen[name] = set()

    def command(self, store: str, words: list[str], kill: tuple[str, int] | None) -> None:
        """Run a command, or kill it at a moment."""
        if kill is None:
            assert called(self.folders[store], *words) == 0
        else:
            code, said = dying.started(self.folders[store], *kill, words).ended()
            assert "Traceback" not in said, said
            self.kills[code == -signal.SIGKILL] += 1

    @rule(store=STORES, name=st.sampled_from([*SWEEPS]), kill=st.none() | MOMENTS)
    def sweep(self, store: str, name: str, kill: tuple[str, int] | None) -> None:
        self.command(store, SWEEPS[name], kill)

    @rule(store=STORES, kill=st.none() | MOMENTS)
    def merge(self, store: str, kill: tuple[str, int] | None) -> None:
        (other,) = self.folders.keys() - {store}
        self.command(store, ["merge", str(self.folders[other])], kill)

    @rule(store=STORES, kill=st.none() | MOMENTS)
    def prune(self, store: str, kill: tuple[str, int] | None) -> None:
        self.command(store, ["prune", "--yes"], kill)

    @invariant()
    def no_key_is_lost_doubled_or_half_written(self) -> None:
        for name, folder in self.folders.items():
            found = members(folder)
            assert self.seen[name] <= found.keys() <= self.expected.keys()
            self.seen[name] = {*found}

    def teardown(self) -> None:
        """After the last resume everything is there, and whole."""
        for folder in self.folders.values():
            for words in SWEEPS.values():
                assert called(folder, *words) == 0
            assert called(folder, "load") == 0
            for path in (folder / "artifacts").rglob("*"):  # what was left is old by now
                os.utime(path, (0, 0), follow_symlinks=False)
            assert called(folder, "check", "--repair", "--yes", "--at-most", "1") == 0
            assert called(folder, "check") == 0
            assert members(folder) == self.expected
        shutil.rmtree(self.root)


def test_any_order_of_commands_and_kills(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = own_copy(trained, tmp_path / "whole")
    for words in SWEEPS.values():
        assert called(whole, *words) == 0
    monkeypatch.setattr(Stores, "trained", trained, raising=False)
    monkeypatch.setattr(Stores, "expected", members(whole), raising=False)
    assert len(Stores.expected) == 4 * len(ALGORITHMS)
    how = settings(
        max_examples=4,
        stateful_step_count=6,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    run_state_machine_as_test(Stores, settings=how)
    assert Stores.kills[True] > 3, Stores.kills


def test_other_commands_that_are_killed(trained: Path, tmp_path: Path) -> None:
    """Training, loading, reporting, repairing: the same command does it all the same."""
    folder = own_copy(trained, tmp_path / "store")
    sweep = sweep_of(4, "--checkpoints", "all")
    assert called(folder, *sweep) == 0
    (lost, *_) = sorted(folder.glob("artifacts/*/*/artifacts/checkpoint-*"))
    lost.write_bytes(b"lost")
    commands = [
        (["train", "--epochs", "8", "--leave-out", "2,5"], [("disk", 1), ("draft", 1)]),
        (["load", "--deep"], [("disk", 1)]),
        (["check", "--repair", "--yes", "--at-most", "1"], [("disk", 1), ("disk", 2)]),
        (["report", "--log"], [("disk", 2)]),
    ]
    for words, moments in commands:
        for moment in moments:
            code, said = dying.started(folder, *moment, words).ended()
            assert code in (-signal.SIGKILL, 0), said
        assert called(folder, *words) == 0
        assert called(folder, *sweep) == 0
    assert called(folder, "load") == 0
    with_drafts = json.loads(checked(folder))
    assert {row["audit"] for row in with_drafts} <= LEFT
    assert len(members(folder)) == 4 * len(ALGORITHMS)


# Reference models, and what they are audited for

BASE = ["train", "--epochs", "2", "--train-samples", "120", "--test-samples", "60"]
REFER = [*BASE, "--references", "12", "--reference-share", "0.5"]
UNTIL = ["sweep", "--algorithm", "ga", "--samples", "3", "--until", "reference"]


def killed_until_it_ends(folder: Path, moment: str, words: list[str]) -> int:
    """Kill a command at its first chance, called again at its second, and so on; how often."""
    for chance in itertools.count(1):
        code, said = dying.started(folder, moment, chance, words).ended()
        assert "Traceback" not in said, said
        if code != -signal.SIGKILL:
            assert code == 0, said
            return chance - 1
    raise AssertionError


def referred(folder: Path) -> dict[str, list[Any]]:
    """What reference models say, in plain values."""
    store = open_store(folder)
    found = references.read(store, base_models.find(store.reader, "latest"))
    assert found is not None
    names = ("included", "phi", "correct", "test_phi")
    return {name: getattr(found, name).tolist() for name in names}


def audited(folder: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """The rows of the only audit, and the metrics of its child runs by key."""
    reader, store = open_reader(folder), open_store(folder)
    (parent,) = reader.of_kind("audit")
    assert parent.status == "FINISHED"
    assert store.artifacts.read(parent.artifact_uri, PICTURE)
    rows = read_audited(store.artifacts, parent.artifact_uri, parent.tags).to_pylist()
    children = list(reader.of_kind("audited"))
    by_key = {child.tags["key"]: dict(child.metrics) for child in children}
    assert len(by_key) == len(children), "doubled"
    return rows, by_key


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store with a base model, and one in which the commands ran that are killed elsewhere."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert called(folder / "base", *BASE) == 0
    whole = own_copy(folder / "base", folder / "whole")
    for words in (REFER, UNTIL, ["audit"]):
        assert called(whole, *words) == 0
    return folder / "base", whole


@pytest.mark.parametrize("moment", sorted({*dying.MOMENTS} - {"chunk"}))
def test_references_and_audits_that_are_killed_come_to_the_same(
    undisturbed: tuple[Path, Path], tmp_path: Path, moment: str
) -> None:
    base, whole = undisturbed
    folder = own_copy(base, tmp_path / "store")
    kills = [killed_until_it_ends(folder, moment, REFER)]
    assert referred(folder) == referred(whole)
    assert called(folder, *UNTIL) == 0
    kills.append(killed_until_it_ends(folder, moment, ["audit"]))
    assert audited(folder) == audited(whole)
    in_children = moment in ("transaction", "commit")  # reference models have none
    assert (kills[0] > 0, kills[1] > 0) == (not in_children, True)
    assert called(folder, "load") == 0
    assert {row["audit"] for row in json.loads(checked(folder))} <= LEFT


def checked(folder: Path) -> str:
    return forked.run("--store", folder, "check", "--format", "json").stdout


# Ctrl-C, and a full disk


@pytest.fixture
def ignored() -> Iterator[None]:
    """Ctrl-C as it is for tests that a script has started with `&` or `nohup`."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_soon_and_says_how_to_go_on(
    trained: Path, tmp_path: Path, ignored: None
) -> None:
    own_copy(trained, tmp_path)
    command = [sys.executable, "-m", "indelible", "--store", str(tmp_path), *sweep_of(600)]
    process = interruptible(command, stderr=subprocess.PIPE, text=True)
    while not rows(tmp_path, MEMBERS) and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "stopped" in said.splitlines()[-1]
    assert "Traceback" not in said
    sweeps = "select r.status from runs as r join tags as t on t.run_uuid = r.run_uuid "
    ((status,),) = rows(tmp_path, f"{sweeps} where t.key = 'kind' and t.value = 'sweep'")
    assert status == "KILLED", said
    written = rows(tmp_path, MEMBERS)
    assert all(status == "FINISHED" for _, status in written)
    assert len(written) < 600, "it went on to its end"


def test_a_stale_sweep_is_closed_by_the_next(trained: Path, tmp_path: Path) -> None:
    own_copy(trained, tmp_path)
    code, _ = dying.started(tmp_path, "commit", 3, sweep_of(5)).ended()
    assert code == -signal.SIGKILL
    running = "select count(*) from runs where status = 'RUNNING'"
    assert rows(tmp_path, running) == [(1,)]
    succeed("--store", tmp_path, *sweep_of(5), "--seed", "5")
    assert rows(tmp_path, running) == [(0,)]


def test_a_full_disk_stops_with_one_line_and_the_sweep_goes_on(
    trained: Path, tmp_path: Path
) -> None:
    """Of seven megabytes, five of which a base model takes."""
    with mounted(tmp_path / "small", "size=7m") as disk:
        full = sweep_of(90)
        own_copy(trained, disk)
        stopped = forked.run("--store", disk, *full)
        assert stopped.returncode == 1
        assert "Traceback" not in stopped.stderr
        last = stopped.stderr.splitlines()[-1]
        assert "full" in last or "space" in last
        assert len(rows(disk, MEMBERS)) < 90 * len(ALGORITHMS)
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        succeed("--store", disk, *full)
        finished = [status for _, status in rows(disk, MEMBERS)]
        assert finished == ["FINISHED"] * 90 * len(ALGORITHMS)
