"""Processes at one sweep: every member is computed once, and the dead are taken over from."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers import mlflow_server
from tests.tracker import counting
from tests.tracker.conftest import Done, Indelible, opened, own_copy
from tests.tracker.test_bulk import DATA, SWEEP
from tests.tracker.test_claims import base_of, planned
from tracker.base.workers import Threads
from tracker.record import views
from tracker.record.bulk import SqlStore
from tracker.record.opening import open_reader
from tracker.record.readers import ClientReader
from tracker.record.records import Kind
from tracker.record.store import Store
from tracker.sweeping import chunks, leases, sweep
from tracker.sweeping.leases import Leases, new_name
from tracker.sweeping.options import Options, Reporter
from unlearning.errors import UserError
from unlearning.execution import Execution

KINDS = pytest.mark.parametrize("kind", [SqlStore, Store])
HOW = Options(chunk=2, execution=Execution.SEQUENTIAL, engine=Threads(1))


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return own_copy(trained, tmp_path / "store")


def begun(store: Store) -> tuple[str, str]:
    experiment = store.experiment_id("digits", "small-cnn")
    return experiment, store.begin_sweep(experiment, SWEEP, DATA)


def leases_of(store: Store) -> Leases:
    return Leases(store, store.leases_run(*begun(store)))


def params_of(folder: Path, run_id: str) -> dict[str, str]:
    """Read without MLflow."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        asked = "select key, value from params where run_uuid = ?"
        return dict(database.execute(asked, [run_id]).fetchall())


@KINDS
def test_all_are_told_who_was_first(folder: Path, kind: type[Store]) -> None:
    run_id = leases_of(opened(kind, folder)).run_id
    stores = {name: opened(kind, folder) for name in "abcd"}
    started = threading.Barrier(4)

    def ask(name: str) -> list[str]:
        started.wait()
        return [stores[name].first(run_id, f"ga/{k}", name) for k in range(10)]

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(ask, stores))
    written = params_of(folder, run_id)
    assert told == [[written[f"ga/{k}"] for k in range(10)]] * 4


def test_a_deleted_run_of_leases_comes_back_with_all_that_it_said(folder: Path) -> None:
    for kind in (SqlStore, Store):
        store = opened(kind, folder)
        experiment, sweep_id = begun(store)
        run_id = store.leases_run(experiment, sweep_id)
        assert store.first(run_id, "ga/0", "one") == "one"
        store.discard([run_id])
        assert store.first(run_id, "ga/0", "other") == "one"
        assert store.first(run_id, "ga/1", "other") == "other"
        assert store.run(run_id).info.lifecycle_stage == "active"
        store.discard([run_id])
        assert store.leases_run(experiment, sweep_id) == run_id
        with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
            for table in ("params", "tags", "metrics", "latest_metrics", "runs"):  # mlflow gc
                database.execute(f"delete from {table} where run_uuid = ?", [run_id])
        new = store.leases_run(experiment, sweep_id)
        assert store.first(new, "ga/0", "other") == "other"


def test_pieces_are_shared_whatever_chunks_each_has(folder: Path) -> None:
    one, other = (leases_of(opened(SqlStore, folder)) for _ in range(2))
    numbers = [0, 1, 2, 5, 6, 7, 8, 9, 13, 14, 15, 20]  # others are there already
    done: dict[str, list[int]] = {"one": [], "other": []}

    def work(name: str, own: Leases, size: int) -> None:
        with own:
            for number in own.taken("members/ga", numbers, size):
                done[name].append(number)
                time.sleep(0.02)

    threads = [
        threading.Thread(target=work, args=asked)
        for asked in (("one", one, 3), ("other", other, 7))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done["one"] + done["other"]) == numbers
    assert all(own == sorted(own) and own for own in done.values())
    assert one.held.total() + other.held.total() == len(numbers)


@KINDS
def test_of_members_that_come_in_no_order_those_of_free_pieces_are_taken(
    folder: Path, kind: type[Store]
) -> None:
    one, other = (leases_of(opened(kind, folder)) for _ in range(2))
    with one, other:
        assert one.takes("members/ga", [5], 3) == {5}
        assert other.takes("members/ga", [9, 0, 4, 3], 100) == {9, 0}  # the size is one's
        assert one.takes("members/ga", [2, 6, 7, 3], 3) == {6, 7, 3}
        assert other.takes("members/ga", [8, 1, 10], 100) == {1, 10}


def test_what_a_process_did_twice_it_does_not_a_third_time(folder: Path) -> None:
    with leases_of(opened(SqlStore, folder)) as own:
        given = [list(own.taken("members/ga", [0, 1], 2)) for _ in range(4)]
    assert given == [[0, 1], [0, 1], [], []]


class Clock:
    """Stands for the module `time`, and only goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases, "time", clock)
    return clock


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on names are of processes on another machine."""
    monkeypatch.setattr(
        leases, "new_name", lambda: f"far:{os.getpid()}:other:{os.urandom(4).hex()}"
    )


def dying_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Leases:
    """The leases of a process elsewhere that shows no sign of life by itself."""
    with monkeypatch.context() as patch:
        elsewhere(patch)
        far = leases_of(opened(SqlStore, folder))
    far._sign("0")
    return far


def passes(clock: Clock, own: Leases, seconds: float) -> None:
    for _ in range(int(seconds / leases.BEAT_S)):
        clock.now += leases.BEAT_S
        own.look()


def test_who_is_silent_elsewhere_is_taken_over_from_after_a_while(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = dying_elsewhere(folder, monkeypatch)
    assert list(far.taken("members/ga", range(4), 2)) == [0, 1, 2, 3]
    own = leases_of(opened(SqlStore, folder))
    own.look()
    passes(clock, own, 40)
    far._sign("1")
    passes(clock, own, 40)
    clock.now += 3600  # the store was away, and with it all signs
    own.look()
    assert own.others() == [far.me]
    assert list(own.taken("members/ga", range(4), 2)) == []
    assert own.held == {far.me: 4}
    passes(clock, own, 10)
    assert own.others() == []
    assert list(own.taken("members/ga", range(4), 2)) == [0, 1, 2, 3]
    assert own.held == {}
    said = params_of(folder, own.run_id)
    assert said["members/ga/1/0"] == far.me
    assert said["members/ga/1/1"] == own.me


def test_nobody_is_dead_before_a_look_that_is_followed_by_reading_the_store(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, own = (leases_of(opened(SqlStore, folder)) for _ in range(2))
    with other:
        list(other.taken("members/ga", range(2), 2))
        with own:
            pass
    assert list(own.taken("members/ga", range(2), 2)) == []  # it ended: its members may be there
    own.look()
    assert list(own.taken("members/ga", range(2), 2)) == [0, 1]


def test_only_processes_of_this_place_are_known_to_be_gone() -> None:
    ended = leases.new_name().split(":")
    gone = 4194304 + 7  # more than Linux gives
    assert not leases.is_gone(new_name())
    assert leases.is_gone(":".join([ended[0], str(gone), *ended[2:]]))
    assert not leases.is_gone(":".join([ended[0], str(gone), "another", ended[3]]))


def test_signs_of_life_are_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.05)
    store = opened(SqlStore, folder)
    with leases_of(store) as own:
        deadline = time.monotonic() + 20
        while len(signs := {store.run(own.run_id).data.tags[f"alive/{own.me}"]}) < 1:
            pass
        while store.run(own.run_id).data.tags[f"alive/{own.me}"] in signs | {"0"}:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    time.sleep(0.2)
    assert store.run(own.run_id).data.tags[f"alive/{own.me}"] == "ended"


# Whole sweeps


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """How often each member was computed in this process."""
    counts: Counter[tuple[str, int]] = Counter()
    real = chunks.unlearn  # type: ignore[attr-defined]

    def unlearn(base: Any, algorithm: Any, positions: Any, *rest: Any) -> Any:
        counts.update((algorithm.name, p) for p in positions.tolist())
        time.sleep(0.1)
        return real(base, algorithm, positions, *rest)

    monkeypatch.setattr(chunks, "unlearn", unlearn)
    return counts


@pytest.mark.slow
@KINDS
def test_two_at_once_share_a_sweep(
    folder: Path,
    indelible: Indelible,
    counted: Counter[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Store],
) -> None:
    monkeypatch.setattr(leases, "PAUSE_S", 0.1)
    started = threading.Barrier(2)
    bases = [base_of(opened(kind, folder)) for _ in range(2)]

    def begin(base: Any) -> tuple[str, int, int]:
        store = opened(kind, folder)
        plan = planned(base, 7)
        seen: list[int] = []
        started.wait()
        reporter = Reporter(lambda members, _: seen.append(members))
        found = sweep.run(store, base, plan, HOW, reporter)
        return found, sum(seen), plan.size

    with ThreadPoolExecutor(2) as pool:
        (one, seen, size), (other, also, _) = pool.map(begin, bases)
    assert one == other
    assert seen == also == size == 14
    assert set(counted.values()) == {1}
    assert len(counted) == 14
    store = opened(kind, folder)
    members = list(store.finished_runs(Kind.MEMBER))
    assert len({run.data.tags["key"] for run in members}) == len(members) == 14
    (experiment,) = store.experiments()
    assert not list(store.runs([experiment.experiment_id], "tags.kind = 'leases'"))
    assert store.run(one).info.status == "FINISHED"
    assert indelible(folder, "load").code == 0
    assert indelible(folder, "check").code == 0
    assert sweep.run(store, bases[0], planned(bases[0], 7), HOW) == one
    assert counted.total() == 14


def test_a_process_that_ends_early_leaves_the_rest_to_the_other(
    folder: Path, counted: Counter[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PAUSE_S", 0.1)
    base, ready = base_of(opened(SqlStore, folder)), threading.Event()
    plan, stops = planned(base, 6), opened(SqlStore, folder)
    real, calls = stops.write_members, 0

    def failing(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        ready.set()
        time.sleep(1.0)
        if calls == 2:
            raise KeyboardInterrupt
        return real(*given)

    stops.write_members = failing  # type: ignore[assignment, method-assign]

    def stopped() -> None:
        with pytest.raises(KeyboardInterrupt):
            sweep.run(stops, base, plan, HOW)

    thread = threading.Thread(target=stopped)
    thread.start()
    ready.wait()
    store = opened(SqlStore, folder)
    sweep_id = sweep.run(store, base_of(store), plan, HOW)
    thread.join()
    assert len(store.finished_members(plan.digests)) == plan.size
    assert set(counted.values()) <= {1, 2}  # those that were in flight
    assert counted.total() > plan.size
    assert store.run(sweep_id).info.status == "FINISHED"


def test_doing_a_sweep_again_is_for_one_at_a_time(folder: Path) -> None:
    store = opened(SqlStore, folder)
    base = base_of(store)
    plan = planned(base, 1)
    sweep_id = sweep.run(store, base, plan, HOW)
    experiment = store.experiment_id("digits", "small-cnn")
    again = Options(chunk=2, execution=Execution.SEQUENTIAL, engine=Threads(1), again=True)
    with Leases(store, store.leases_run(experiment, sweep_id)) as other:
        assert other.take("again") == other.me
        with pytest.raises(UserError, match=rf"process {os.getpid()} on .* does this sweep again"):
            sweep.run(opened(SqlStore, folder), base, plan, again)
    assert sweep.run(store, base, plan, again) == sweep_id


def test_leases_are_shown_to_nobody(done: Done, tmp_path: Path, indelible: Indelible) -> None:
    folder = own_copy(done.folder, tmp_path / "copy")
    assert indelible(folder, "load").code == 0
    before = open_reader(folder).runs()["run_id"].to_pylist()
    store = opened(SqlStore, folder)
    (experiment,) = store.experiments()
    run_id = store.leases_run(experiment.experiment_id, done.sweep)
    assert open_reader(folder).runs()["run_id"].to_pylist() == before
    assert sorted(ClientReader(store).runs()["run_id"].to_pylist()) == sorted(before)
    assert "changed since" not in indelible(folder, "rank").err
    assert "nothing new" in indelible(folder, "load").err
    assert "everything is whole" in indelible(folder, "check").err
    for condition in (
        views._overview(),
        views._table(f"tags.`mlflow.parentRunId` = '{done.sweep}'", "", {}),
    ):
        shown = store.runs([experiment.experiment_id], condition["searchFilter"])
        assert run_id not in {run.info.run_id for run in shown}


# Processes of their own


def sharing(to: list[object], samples: int) -> list[object]:
    options = ["--samples", samples, "--chunk", 2, "--execution", "sequential", "--workers", 1]
    return [*to, "sweep", "--algorithm", "ga", "--algorithm", "neggrad", *options]


def members_of(indelible: Indelible, folder: Path, to: list[object]) -> Counter[str]:
    assert indelible(folder, *to, "load").code == 0
    checked = indelible(folder, *to, "check")
    assert checked.code == 0, checked.out
    query = "select key from runs where run_status = 'FINISHED'"
    rows = json.loads(indelible(folder, "sql", query, "--format", "json").out)
    return Counter(row["key"] for row in rows)


@pytest.mark.faults
def test_three_processes_share_an_embedded_store(
    folder: Path, tmp_path: Path, indelible: Indelible
) -> None:
    journal = tmp_path / "journal"
    words = sharing(["--store", folder], 20)
    many = [counting.started(f"p{n}", journal, words) for n in range(3)]
    assert [each.ended()[0] for each in many] == [0, 0, 0]
    found = counting.computed(journal)
    assert len(found) == 3  # each did some
    assert set(sum(found.values(), Counter()).values()) == {1}
    assert set(members_of(indelible, folder, []).values()) == {1}
    assert sum(found.values(), Counter()).total() == 40


@pytest.mark.faults
def test_processes_share_a_sweep_on_a_server(tmp_path: Path, indelible: Indelible) -> None:
    mine, journal = tmp_path / "mine", tmp_path / "journal"
    with mlflow_server(tmp_path) as uri:
        to: list[object] = ["--tracking-uri", uri]
        assert indelible(mine, *to, "train", "--epochs", 2).code == 0
        words = sharing(["--store", mine, *to], 12)
        first, other = (counting.started(f"p{n}", journal, words) for n in range(2))
        counting.wait_for(journal, "p0", 6)
        counting.wait_for(journal, "p1", 4)
        assert first.process.pid
        os.kill(first.process.pid, 9)
        assert first.ended()[0] == -9
        code, said = other.ended()
        assert code == 0, said
        found = counting.computed(journal)
        twice = {member for member, n in sum(found.values(), Counter()).items() if n > 1}
        assert twice <= set(found["p0"])
        assert len(twice) <= 8  # chunks that were taken and not yet written
        assert max(found["p1"].values()) == 1
        members = members_of(indelible, mine, to)
        assert len(members) == 24
        assert set(members.values()) == {1}


@pytest.mark.faults
def test_what_a_killed_process_had_taken_is_done_by_the_other(
    folder: Path, tmp_path: Path, indelible: Indelible
) -> None:
    journal = tmp_path / "journal"
    words = sharing(["--store", folder], 24)
    first, other = (counting.started(f"p{n}", journal, words) for n in range(2))
    counting.wait_for(journal, "p0", 6)
    counting.wait_for(journal, "p1", 4)
    assert first.process.pid
    os.kill(first.process.pid, 9)
    code, said = other.ended()
    assert code == 0, said
    found = counting.computed(journal)
    assert max(found["p1"].values()) == 1
    twice = [member for member, n in sum(found.values(), Counter()).items() if n > 1]
    assert 0 < len(twice) <= 8
    assert len(members_of(indelible, folder, [])) == 48


@KINDS
def test_a_sweep_is_not_said_to_be_killed_while_anybody_is_at_it(
    folder: Path, kind: type[Store]
) -> None:
    store = opened(kind, folder)
    experiment_id, sweep_id = begun(store)
    gone = subprocess.Popen(["true"])
    gone.wait()
    store.client.set_tag(sweep_id, "process", f"{socket.gethostname()}:{gone.pid}")

    def status() -> str:
        leases.close_stale_sweeps(store)
        return str(store.run(sweep_id).info.status)

    with Leases(store, store.leases_run(experiment_id, sweep_id)):
        assert status() == "RUNNING"
    assert status() == "KILLED"
