"""A sweep that is killed, crowded, interrupted or out of disk loses nothing and doubles nothing."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from analysis.drafts import is_draft
from tests import forked
from tests.forked import Forked, succeed
from tests.processes import interruptible
from tests.tracker import dying
from tests.tracker.conftest import Indelible, own_copy
from tracker.base import base_models
from tracker.store.opening import open_reader, open_store
from tracker.store.weights import restore
from unlearning import datasets
from unlearning.models import weights_sha256

pytestmark = pytest.mark.faults

ALGORITHMS = ("ga", "neggrad", "salun")
SAMPLES = 20


def sweep_of(samples: int) -> list[str]:
    chunks = ["sweep", "--samples", str(samples), "--chunk", "5", "--execution", "stacked"]
    return [*chunks, *(word for name in ALGORITHMS for word in ("--algorithm", name))]


SWEEP = sweep_of(SAMPLES)


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        return connection.execute(query).fetchall()


def content(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything about runs but ids and clocks."""
    named = "join runs as r on r.run_uuid = t.run_uuid"
    tables = {
        "runs": "select name, status, lifecycle_stage, source_type, user_id from runs",
        "params": f"select r.name, t.key, t.value from params as t {named}",
        "tags": f"select r.name, t.key, t.value from tags as t {named}",
        "metrics": f"select r.name, t.key, t.step, t.value, t.is_nan from metrics as t {named}",
        "latest": f"select r.name, t.key, t.step, t.value from latest_metrics as t {named}",
    }
    clocks = ("elapsed_s", "mean_elapsed_s")
    found = {}
    for name, query in tables.items():
        kept = [row for row in rows(folder, query) if not str(row[1]).endswith(clocks)]
        others = ("process", "mlflow.note.content", "base_run_id", "measured_at")
        kept = [row for row in kept if row[1] not in others and not is_timed(str(row[1]))]
        # Who had taken what before it was killed is another thing each time.
        found[name] = sorted(kept, key=repr)
    return found


def artifacts(folder: Path) -> dict[str, bytes]:
    """The files of runs, but for drafts, one of which each kill may leave in the middle of it.

    And but for those that hold what things took: see `pre_factors`.
    """
    names = dict(rows(folder, "select run_uuid, name from runs"))
    found = {}
    for path in (folder / "artifacts").rglob("*.*"):
        if path.is_file() and not is_draft(path.name) and not is_timed(path.name):
            _, run_id, *below = path.relative_to(folder / "artifacts").parts
            found["/".join((names[run_id], *below))] = path.read_bytes()
    return found


def is_timed(name: str) -> bool:
    """Whether a file, or the tag that tells of it, holds clocks beside its content."""
    return name.startswith("pre_factors")


def pre_factors(folder: Path) -> dict[tuple[int, str], bytes]:
    """What is kept of each sample and factor, as the tags of the base model tell of it."""
    found: dict[tuple[int, str], bytes] = {}
    for (tag,) in rows(folder, "select key from tags where key like 'pre_factors/%'"):
        (path,) = folder.glob(f"artifacts/*/*/artifacts/{tag.replace('/', '-')}.safetensors")
        part = load_file(path)
        for name, values in part.items():
            if not name.startswith("seconds/"):
                pairs = zip(part["sample_ids"].tolist(), values, strict=True)
                found |= {(sample, name): value.numpy().tobytes() for sample, value in pairs}
    return found


def differing(some: dict[str, bytes], others: dict[str, bytes]) -> set[str]:
    """Names of what is only in one, or not the same in both."""
    return {name for name in some | others if some.get(name) != others.get(name)}


@pytest.fixture(scope="module")
def undisturbed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = own_copy(trained, tmp_path_factory.mktemp("undisturbed"))
    succeed("--store", folder, *SWEEP)
    return folder


def test_ten_kills_change_nothing(
    trained: Path, undisturbed: Path, tmp_path: Path, indelible: Indelible
) -> None:
    own_copy(trained, tmp_path)
    random = np.random.default_rng(0)
    moments = [("transaction", n) for n in (4, 1, 7)]  # tables of a chunk
    moments += [("commit", 1), ("commit", 2)]  # chunks
    moments += [("artifact", 2), ("draft", 3), ("draft", 8)]  # runs, of a file and a folder each
    order = [moments[at] for at in random.permutation(len(moments))]
    order += [("clock", t) for t in random.uniform(0.1, 0.8, size=2)]  # seconds
    kills: Counter[str] = Counter()
    for moment, chance in order:
        code, _ = dying.started(tmp_path, moment, chance, SWEEP).ended()
        kills[moment] += code == -signal.SIGKILL
        unfinished = [s for _, s in rows(tmp_path, MEMBERS) if s != "FINISHED"]
        assert unfinished == []
    assert kills.total() == 10, kills
    assert any(is_draft(path.name) for path in tmp_path.rglob(".*"))
    succeed("--store", tmp_path, *SWEEP)
    assert content(tmp_path) == content(undisturbed)
    assert differing(artifacts(tmp_path), artifacts(undisturbed)) == set()
    assert pre_factors(tmp_path) == pre_factors(undisturbed) != {}
    assert indelible(tmp_path, "load").code == 0
    assert indelible(tmp_path, "check").code == 0


PARTS = 4  # of the work that is begun again and again
KILLS = 12  # of all commands together
LEFT = {"orphan_folder", "stray_file"}  # what kills leave lying about, which harms nobody
MEMBERS = """
    select r.name, r.status from runs as r join tags as t on t.run_uuid = r.run_uuid
    where t.key = 'kind' and t.value = 'member'
"""


def overlapping(model: str, seed: int, other: int) -> list[str]:
    """One of two sweeps with members in common, which are computed in different ways."""
    names = ["ga", "neggrad"] if not other else ["neggrad", "ga", "salun"]
    words = ["sweep", "--model", model, *(w for name in names for w in ("--algorithm", name))]
    words += ["--seed", str(seed), "--name", f"{'other' if other else 'one'}-{seed}"]
    how = ["--samples", "20", "--chunk", "5", "--execution", "stacked"]
    if other:
        how = ["--samples", "30", "--chunk", "7", "--execution", "sequential"]
        how += ["--checkpoints", "hardest:6"]
    return [*words, *how]


def test_kills_of_every_command_lose_and_double_nothing(
    tmp_path: Path, indelible: Indelible
) -> None:
    random = np.random.default_rng(1)
    train = ["train", "--epochs", "4"]
    model = indelible(tmp_path, *train).id
    ids = datasets.load("digits").train.ids.tolist()

    def moment(calls: int, seconds: float) -> tuple[str, float]:
        if random.random() < 0.6:
            return "disk", float(random.integers(1, calls + 1))
        return "clock", random.uniform(seconds / 8, seconds)

    def one_of(number: int) -> list[tuple[str, float, list[str]]]:
        """Commands that are run at once, each with the moment at which it dies."""
        part = number % PARTS
        left_out = ",".join(map(str, ids[3 * part : 3 * part + 3]))
        more = ["--memorization-models", str(2 + part)] if number % 2 else []
        return [
            [(*moment(20, 2.0), overlapping(model, part, other)) for other in (0, 1)],
            [(*moment(6, 1.5), [*train, "--leave-out", left_out, *more])],
            [(*moment(1, 0.6), ["load", "--deep"])],
            [(*moment(9, 2.0), ["report", "--log"])],
            [(*moment(2, 0.8), ["check", "--repair", "--yes"])],
            [(*moment(20, 2.5), ["demo", "--samples", "6"])],
        ][next(deck)]

    deck = cycle(random.permutation([0] * 6 + [1] * 3 + [2] * 2 + [3] * 3 + [4] * 3 + [5] * 3))
    kills: Counter[str] = Counter()
    for number in range(80):  # some commands end before their time has come
        together = one_of(number)
        repairs = together[0][2][0] == "check"
        if repairs:
            damage(tmp_path, random)
        processes = [dying.started(tmp_path, *each) for each in together]
        for process, (_, _, arguments) in zip(processes, together, strict=True):
            code, said = process.ended()
            kills[arguments[0]] += code == -signal.SIGKILL
            assert "Traceback" not in said, said
        if repairs:
            assert indelible(tmp_path, "check", "--repair", "--yes").code == 0
        assert indelible(tmp_path, "load").code == 0
        checked = indelible(tmp_path, "check", "--format", "json")
        found = {row["audit"] for row in json.loads(checked.out)}
        assert found <= LEFT, (together, checked)  # what is older than ten minutes by now
        if kills.total() >= KILLS:
            break
    assert kills.total() >= KILLS, kills
    assert len(+kills) == 6, kills
    finish(tmp_path, indelible, model, ids)


def damage(folder: Path, random: np.random.Generator) -> None:
    """Lose a checkpoint, so that there is something to repair."""
    checkpoints = sorted(folder.glob("artifacts/*/*/artifacts/checkpoint-*"))
    if checkpoints:
        checkpoints[int(random.integers(len(checkpoints)))].write_bytes(b"lost")


def finish(folder: Path, indelible: Indelible, model: str, ids: list[int]) -> None:
    """Do all that was begun, and look at every member."""
    for seed in range(PARTS):
        for other in (0, 1):
            assert indelible(folder, *overlapping(model, seed, other)).code == 0
    left_out = ids[: 3 * PARTS]
    more = ["--leave-out", ",".join(map(str, left_out)), "--memorization-models", str(1 + PARTS)]
    assert indelible(folder, "train", "--epochs", "4", *more).code == 0
    assert indelible(folder, "demo", "--samples", "6").code == 0
    assert indelible(folder, "load").code == 0
    for path in (folder / "artifacts").rglob("*"):  # what was left lying about is old now
        os.utime(path, (0, 0), follow_symlinks=False)
    left = json.loads(indelible(folder, "check", "--format", "json").out)
    assert {row["audit"] for row in left} <= LEFT
    if left:
        assert indelible(folder, "check", "--repair", "--yes", "--at-most", "1").code == 0
    assert indelible(folder, "check").code == 0
    reader = open_reader(folder)
    members = reader.of_kind("member")
    keys = Counter(run.tags["key"] for run in members)
    assert set(keys.values()) == {1}
    assert len(keys) == PARTS * 3 * 30 + 4 * 6
    assert {run.status for run in members} == {"FINISHED"}
    kept = [run for run in members if "checkpoint" in run.tags]
    assert len(kept) > PARTS * 30
    for run in kept:
        assert weights_sha256(restore(reader, run.run_id)) == run.tags["weights_sha256"]
    base = base_models.load(open_store(folder), model, torch.device("cpu")).model
    assert sorted(base.companions.left_out) == sorted(left_out)
    assert len(base.companions.memorization) == 1000


def test_two_processes_sweep_into_one_store(
    trained: Path, tmp_path: Path, indelible: Indelible
) -> None:
    own_copy(trained, tmp_path)
    same = [Forked("--store", tmp_path, *SWEEP) for _ in "ab"]
    other = Forked("--store", tmp_path, *SWEEP, "--seed", 1, "--name", "other")
    assert sorted(process.wait(120) for process in same) in ([0, 0], [0, 2])  # told who drives it
    assert other.wait(120) == 0
    names = [name for name, status in rows(tmp_path, MEMBERS) if status == "FINISHED"]
    assert len(names) == 2 * SAMPLES * len(ALGORITHMS)
    keys = rows(tmp_path, "select value from tags where key = 'key' and value like '%-%'")
    assert len(set(keys)) == len(keys) == len(names)
    assert len(rows(tmp_path, "select 1 from tags where key = 'kind' and value = 'sweep'")) == 2
    assert indelible(tmp_path, "load").code == 0
    assert indelible(tmp_path, "check").code == 0


@pytest.fixture
def ignored() -> Iterator[None]:
    """Ctrl-C as it is for tests that a script has started with `&` or `nohup`."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("when", [3.0, 5.0])
def test_ctrl_c_ends_soon_and_says_how_to_go_on(
    trained: Path, tmp_path: Path, ignored: None, when: float
) -> None:
    own_copy(trained, tmp_path)
    command = [sys.executable, "-m", "indelible", "--store", str(tmp_path), *sweep_of(600)]
    process = interruptible(command, stderr=subprocess.PIPE, text=True)
    time.sleep(when)
    process.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    _, said = process.communicate(timeout=60)
    waited = time.monotonic() - pressed
    assert process.returncode == 1
    assert "goes on where it stopped" in said.splitlines()[-1] or "stopped" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert waited < 20  # a second or two where the machine is not busy
    sweeps = rows(
        tmp_path,
        "select r.status from runs as r join tags as t on t.run_uuid = r.run_uuid "
        "where t.key = 'kind' and t.value = 'sweep'",
    )
    assert sweeps in ([("KILLED",)], [])
    assert all(status == "FINISHED" for _, status in rows(tmp_path, MEMBERS))


def test_a_stale_sweep_is_closed_by_the_next(trained: Path, tmp_path: Path) -> None:
    own_copy(trained, tmp_path)
    code, _ = dying.started(tmp_path, "commit", 3, SWEEP).ended()
    assert code == -signal.SIGKILL
    running = "select count(*) from runs where status = 'RUNNING'"
    assert rows(tmp_path, running) == [(1,)]
    another = [*sweep_of(5), "--seed", "5"]
    succeed("--store", tmp_path, *another)
    assert rows(tmp_path, running) == [(0,)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of seven megabytes, five of which a base model takes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_stops_with_one_line_and_the_sweep_goes_on(
    trained: Path, small_disk: Path
) -> None:
    full = sweep_of(60)
    own_copy(trained, small_disk)
    stopped = forked.run("--store", small_disk, *full)
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    assert "full" in stopped.stderr.splitlines()[-1] or "space" in stopped.stderr.splitlines()[-1]
    done = len(rows(small_disk, MEMBERS))
    assert done < 60 * len(ALGORITHMS)
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    succeed("--store", small_disk, *full)
    finished = [status for _, status in rows(small_disk, MEMBERS)]
    assert finished == ["FINISHED"] * 60 * len(ALGORITHMS)
