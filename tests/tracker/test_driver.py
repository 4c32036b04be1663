"""One process drives a sweep: a second one is told, and the driver's end lets others go on."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.servers import mlflow_server
from tests.tracker import dying
from tests.tracker.conftest import Indelible, own_copy
from tests.tracker.test_bulk import DATA, SWEEP
from tests.tracker.test_claims import base_of, planned
from tracker.base.workers import Threads
from tracker.store import driver
from tracker.store.addresses import Address
from tracker.store.bulk import SqlStore
from tracker.store.driver import close_stale_sweeps, driving
from tracker.store.records import Kind
from tracker.store.write import Store
from tracker.sweep import chunks, sweep
from tracker.sweep.options import Options
from unlearning.engine import unlearn
from unlearning.errors import Failure, UserError
from unlearning.execution import Execution

HOW = Options(chunk=2, execution=Execution.SEQUENTIAL, engine=Threads(1))
ME = f"process {os.getpid()} on {re.escape(socket.gethostname())}"

Open = Callable[[], Store]


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return own_copy(trained, tmp_path / "store")


@pytest.fixture(params=["embedded", "shared"])
def opens(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """The same store anew: the folder's own, or as one that machines share."""
    for name, seconds in (("BEAT_S", 0.05), ("SETTLED_S", 0.1), ("DEAD_S", 0.5)):
        monkeypatch.setattr(driver, name, seconds)
    if request.param == "shared":
        monkeypatch.setattr(Address, "is_embedded", False)
    kind = Store if request.param == "shared" else SqlStore
    return lambda: kind(Address.of(folder))


def begun(store: Store) -> str:
    return store.begin_sweep(store.experiment_id("digits", "small-cnn"), SWEEP, DATA)


def test_a_second_process_is_told_who_drives(opens: Open) -> None:
    store = opens()
    base = base_of(store)
    plan, writing, told = planned(base, 3), threading.Event(), threading.Event()
    real = store.write_members

    def slowly(*given: Any) -> Any:
        writing.set()
        assert told.wait(60)
        return real(*given)

    store.write_members = slowly  # type: ignore[assignment, method-assign]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sweep.run, store, base, plan, HOW)
        assert writing.wait(60)
        other = opens()
        with pytest.raises(UserError, match=rf"{ME} drives sweep .* since 20\d\d-.*: wait until"):
            sweep.run(other, base, plan, HOW)
        told.set()
        sweep_id = first.result()
    assert other.run(sweep_id).status == "FINISHED"
    assert sweep.run(other, base, plan, HOW) == sweep_id
    keys = [run.tags["key"] for run in other.finished_runs(Kind.MEMBER)]
    assert len({*keys}) == len(keys) == plan.size


def test_shares_have_a_driver_each(opens: Open) -> None:
    store = opens()
    run_id = begun(store)
    with (
        driving(store, run_id, "a sweep", "1/2"),
        driving(opens(), run_id, "a sweep", "2/2"),
        pytest.raises(UserError, match=ME),
        driving(opens(), run_id, "a sweep", "2/2"),
    ):
        pass


@pytest.mark.parametrize("opens", ["shared"], indirect=True)
def test_a_driver_that_is_silent_elsewhere_is_dead_after_a_while(opens: Open) -> None:
    store, said = opens(), list[str]()
    run_id = begun(store)

    def sign(beat: int) -> None:
        tag = {"process": "far:17", "since": "2026-01-01", "id": "other", "beat": beat}
        store.client.set_tag(run_id, "driver", json.dumps(tag))

    def drive() -> None:
        with driving(opens(), run_id, "a sweep", say=said.append):
            pass

    sign(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(drive)
        time.sleep(0.2)
        sign(1)
        with pytest.raises(UserError, match="process 17 on far drives a sweep since 2026-01-01"):
            waiting.result()
    assert said == ["does process far:17 live, which drives a sweep?"]
    drive()
    assert "driver" not in store.run(run_id).tags
    with driving(store, run_id, "a sweep") as check:
        check()
        for _ in range(3):  # a beat that has read its own tag may write once more
            sign(2)
            time.sleep(0.2)
        with pytest.raises(Failure, match="another process drives a sweep by now"):
            check()
    assert json.loads(store.run(run_id).tags["driver"])["id"] == "other"


@pytest.mark.parametrize("opens", ["embedded"], indirect=True)
def test_a_sweep_whose_process_is_gone_is_closed(opens: Open) -> None:
    store = opens()
    run_id = begun(store)
    close_stale_sweeps(store)
    assert store.run(run_id).status == "RUNNING"
    gone = subprocess.Popen(["true"])
    gone.wait()
    store.client.set_tag(run_id, "process", f"{socket.gethostname()}:{gone.pid}")
    close_stale_sweeps(store)
    assert store.run(run_id).status == "KILLED"


@pytest.mark.faults
def test_what_was_killed_goes_on_at_once_through_a_server(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same machine, where its process is seen to be gone."""
    mine, computed = tmp_path / "mine", list[int]()

    def watched(base: Any, algorithm: Any, positions: Any, *rest: Any) -> Any:
        computed.append(len(positions))
        return unlearn(base, algorithm, positions, *rest)

    with mlflow_server(tmp_path) as uri:
        to = ("--tracking-uri", uri)
        assert indelible(mine, *to, "train", "--epochs", 2).code == 0
        how = ("--samples", "20", "--chunk", "2", "--execution", "sequential", "--workers", "1")
        words = (*to, "sweep", "--algorithm", "ga", "--algorithm", "neggrad", *how)
        code, said = dying.started(mine, "chunk", 6, words).ended()
        assert code == -signal.SIGKILL, said
        monkeypatch.setattr(chunks, "unlearn", watched)
        answer = indelible(mine, *words)
        assert answer.code == 0, answer.err
        assert 30 <= sum(computed) <= 38  # with what was computed and not yet written
        assert indelible(mine, *to, "load").code == 0
        checked = indelible(mine, *to, "check")
        assert checked.code == 0, checked.out
        query = "select key from internal.runs where run_status = 'FINISHED'"
        rows = json.loads(indelible(mine, "sql", query, "--format", "json").out)
        assert len(rows) == len({row["key"] for row in rows}) == 40
