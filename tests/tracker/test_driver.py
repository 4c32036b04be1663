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
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.servers import mlflow_server
from tests.tracker import counting
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
from tracker.sweep import sweep
from tracker.sweep.options import Options
from unlearning.errors import Failure, UserError
from unlearning.execution import Execution

HOW = Options(chunk=2, execution=Execution.SEQUENTIAL, engine=Threads(1))
ME = f"process {os.getpid()} on {re.escape(socket.gethostname())}"

Open = Callable[[], Store]


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return own_copy(trained, tmp_path / "store")


@pytest.fixture(params=["embedded", "bulk", "client"])
def opens(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """The same store anew: the folder's own, or as one that machines share."""
    for name, seconds in (("BEAT_S", 0.05), ("SETTLED_S", 0.1), ("DEAD_S", 0.5)):
        monkeypatch.setattr(driver, name, seconds)
    if request.param != "embedded":
        monkeypatch.setattr(Address, "is_embedded", False)
    kind = Store if request.param == "client" else SqlStore
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
    assert other.run(sweep_id).info.status == "FINISHED"
    assert sweep.run(other, base, plan, HOW) == sweep_id
    keys = [run.data.tags["key"] for run in other.finished_runs(Kind.MEMBER)]
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


def test_a_driver_that_is_silent_elsewhere_is_dead_after_a_while(opens: Open) -> None:
    store, said = opens(), list[str]()
    if store.address.is_embedded:
        pytest.skip("a lock of the operating system ends with its process")
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
    assert "driver" not in store.run(run_id).data.tags
    with driving(store, run_id, "a sweep") as check:
        check()
        for _ in range(3):  # a beat that has read its own tag may write once more
            sign(2)
            time.sleep(0.5)
        with pytest.raises(Failure, match="another process drives a sweep by now"):
            check()
    assert json.loads(store.run(run_id).data.tags["driver"])["id"] == "other"


def test_a_sweep_whose_process_is_gone_is_closed(opens: Open) -> None:
    store = opens()
    run_id = begun(store)
    close_stale_sweeps(store)
    assert store.run(run_id).info.status == "RUNNING"
    gone = subprocess.Popen(["true"])
    gone.wait()
    store.client.set_tag(run_id, "process", f"{socket.gethostname()}:{gone.pid}")
    close_stale_sweeps(store)
    assert store.run(run_id).info.status == "KILLED"


@pytest.mark.faults
def test_what_was_killed_goes_on_at_once_through_a_server(
    tmp_path: Path, indelible: Indelible
) -> None:
    """On the same machine, where its process is seen to be gone."""
    journal, mine = tmp_path / "journal", tmp_path / "mine"
    with mlflow_server(tmp_path) as uri:
        to = ("--tracking-uri", uri)
        assert indelible(mine, *to, "train", "--epochs", 2).code == 0
        how = ("--samples", 40, "--chunk", 2, "--execution", "sequential", "--workers", 1)
        words = (*to, "sweep", "--algorithm", "ga", "--algorithm", "neggrad", *how)
        first = counting.started("p0", journal, ("--store", mine, *words))
        counting.wait_for(journal, "p0", 6)
        refused = indelible(mine, *words)
        assert refused.code == 2
        assert f"process {first.process.pid} on" in refused.err.splitlines()[-1]
        os.kill(first.process.pid or 0, signal.SIGKILL)
        assert first.ended()[0] == -signal.SIGKILL
        code, said = counting.started("p1", journal, ("--store", mine, *words)).ended()
        assert code == 0, said
        found = counting.computed(journal)
        assert max(found["p1"].values()) == 1
        twice = [member for member, n in sum(found.values(), Counter()).items() if n > 1]
        assert len(twice) <= 8  # computed and not yet written
        assert indelible(mine, *to, "load").code == 0
        checked = indelible(mine, *to, "check")
        assert checked.code == 0, checked.out
        query = "select key from internal.runs where run_status = 'FINISHED'"
        rows = json.loads(indelible(mine, "sql", query, "--format", "json").out)
        assert len(rows) == len({row["key"] for row in rows}) == 80
