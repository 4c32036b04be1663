"""A sweep that is killed, crowded, interrupted or out of disk loses nothing and doubles nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tracker.conftest import Indelible

pytestmark = pytest.mark.faults

ALGORITHMS = ("ga", "neggrad", "salun")
SAMPLES = 160
SWEEP = [
    *("sweep", "--samples", str(SAMPLES), "--chunk", "5", "--execution", "stacked"),
    *(word for name in ALGORITHMS for word in ("--algorithm", name)),
]

# A process that runs a command and kills itself: inside the store's transaction, between the
# artifacts and the transaction, or after some seconds, at the N-th chance.
SUICIDE = """
import os, signal, sys, threading
from indelible.tracker import bulk
from indelible.tracker.cli import run

moment, chance, arguments = sys.argv[1], float(sys.argv[2]), sys.argv[3:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

calls = 0
def at_the_chance(real, before):
    def wrapped(*given, **named):
        global calls
        calls += 1
        if calls == chance and before:
            die()
        result = real(*given, **named)
        if calls == chance:
            die()
        return result
    return wrapped

if moment == "transaction":  # after some tables, before the commit
    bulk.insert = at_the_chance(bulk.insert, before=True)
elif moment == "commit":  # all artifacts of a chunk are there, no row is
    bulk.SqlStore._insert = at_the_chance(bulk.SqlStore._insert, before=True)
elif moment == "artifact":  # some artifacts of a chunk are there
    bulk.SqlStore._put = at_the_chance(bulk.SqlStore._put, before=False)
else:
    threading.Timer(chance, die).start()
sys.exit(run(arguments))
"""


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "indelible", "--store", str(folder), *arguments]


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
        kept = [
            row for row in kept if row[1] not in ("process", "mlflow.note.content", "base_run_id")
        ]
        found[name] = sorted(kept, key=repr)
    return found


def artifacts(folder: Path) -> dict[str, bytes]:
    names = dict(rows(folder, "select run_uuid, name from runs"))
    return {
        f"{names[path.parts[-3]]}/{path.name}": path.read_bytes()
        for path in (folder / "artifacts").rglob("*.*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    for arguments in (["train", "--epochs", "8"], SWEEP):
        subprocess.run(command(folder, *arguments), check=True, capture_output=True)
    return folder


def test_twenty_kills_change_nothing(
    undisturbed: Path, tmp_path: Path, indelible: Indelible
) -> None:
    subprocess.run(command(tmp_path, "train", "--epochs", "8"), check=True, capture_output=True)
    random = np.random.default_rng(0)
    moments = [("transaction", n) for n in (4, 1, 3, 7)]  # tables of a chunk
    moments += [("commit", 1), ("commit", 2), ("commit", 1), ("commit", 2)]  # chunks
    moments += [("artifact", n) for n in (2, 4, 9)]  # files
    order = [moments[at] for at in random.permutation(len(moments))]
    order += [("clock", t) for t in random.uniform(1.5, 3.8, size=9)]  # seconds
    kills: Counter[str] = Counter()
    for moment, chance in order:
        arguments = [sys.executable, "-c", SUICIDE, moment, str(chance)]
        ended = subprocess.run(
            [*arguments, "--store", str(tmp_path), *SWEEP], capture_output=True, check=False
        )
        kills[moment] += ended.returncode == -signal.SIGKILL
        unfinished = [s for _, s in rows(tmp_path, MEMBERS) if s != "FINISHED"]
        assert unfinished == []
    assert kills.total() == 20, kills
    subprocess.run(command(tmp_path, *SWEEP), check=True, capture_output=True)
    assert content(tmp_path) == content(undisturbed)
    assert artifacts(tmp_path) == artifacts(undisturbed)
    assert indelible(tmp_path, "load").code == 0
    assert indelible(tmp_path, "check").code == 0


MEMBERS = """
    select r.name, r.status from runs as r join tags as t on t.run_uuid = r.run_uuid
    where t.key = 'kind' and t.value = 'member'
"""


def test_two_processes_sweep_into_one_store(
    undisturbed: Path, tmp_path: Path, indelible: Indelible
) -> None:
    subprocess.run(command(tmp_path, "train", "--epochs", "8"), check=True, capture_output=True)
    same = [subprocess.Popen(command(tmp_path, *SWEEP), stderr=subprocess.PIPE) for _ in "ab"]
    other = subprocess.Popen(command(tmp_path, *SWEEP, "--seed", "1", "--name", "other"))
    for process in (*same, other):
        assert process.wait(120) == 0
    names = [name for name, status in rows(tmp_path, MEMBERS) if status == "FINISHED"]
    assert len(names) == 2 * SAMPLES * len(ALGORITHMS)
    keys = rows(tmp_path, "select value from tags where key = 'key' and value like '%-%'")
    assert len(set(keys)) == len(keys) == len(names)
    assert len(rows(tmp_path, "select 1 from tags where key = 'kind' and value = 'sweep'")) == 2
    assert indelible(tmp_path, "load").code == 0
    assert indelible(tmp_path, "check").code == 0


@pytest.mark.parametrize("when", [3.0, 5.0])
def test_ctrl_c_ends_soon_and_says_how_to_go_on(tmp_path: Path, when: float) -> None:
    subprocess.run(command(tmp_path, "train", "--epochs", "8"), check=True, capture_output=True)
    long = [word if word != str(SAMPLES) else "600" for word in SWEEP]
    process = subprocess.Popen(command(tmp_path, *long), stderr=subprocess.PIPE, text=True)
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


def test_a_stale_sweep_is_closed_by_the_next(tmp_path: Path) -> None:
    subprocess.run(command(tmp_path, "train", "--epochs", "8"), check=True, capture_output=True)
    arguments = [sys.executable, "-c", SUICIDE, "commit", "3", "--store", str(tmp_path)]
    killed = subprocess.run([*arguments, *SWEEP], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    running = "select count(*) from runs where status = 'RUNNING'"
    assert rows(tmp_path, running) == [(1,)]
    another = [*SWEEP, "--seed", "5"]
    subprocess.run(command(tmp_path, *another), check=True, capture_output=True)
    assert rows(tmp_path, running) == [(0,)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of twelve megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_stops_with_one_line_and_the_sweep_goes_on(small_disk: Path) -> None:
    subprocess.run(command(small_disk, "train", "--epochs", "8"), check=True, capture_output=True)
    stopped = subprocess.run(
        command(small_disk, *SWEEP), capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    assert "full" in stopped.stderr.splitlines()[-1] or "space" in stopped.stderr.splitlines()[-1]
    done = len(rows(small_disk, MEMBERS))
    assert done < SAMPLES * len(ALGORITHMS)
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    subprocess.run(command(small_disk, *SWEEP), check=True, capture_output=True)
    finished = [status for _, status in rows(small_disk, MEMBERS)]
    assert finished == ["FINISHED"] * SAMPLES * len(ALGORITHMS)
