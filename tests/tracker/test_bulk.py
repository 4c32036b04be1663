"""Every kind of store does the same: rows in bulk, MLflow's client, PostgreSQL, a server."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests import postgres
from tests.servers import mlflow_server
from tests.tracker.conftest import AnyStore, opened, own_copy
from tracker.store.bulk import SqlStore
from tracker.store.identity import TAG
from tracker.store.opening import open_reader, open_store
from tracker.store.records import (
    MEASURED_AT,
    VERSIONS,
    Data,
    Kind,
    Measured,
    Record,
)
from tracker.store.weights import file_name
from tracker.store.write import Store
from tracker.sweep.plan import sweep_key

DATA = Data("digits", "f" * 64, {"train": 2, "test": 1})
STARTED, ENDED = 1_700_000_000_000, 1_700_000_005_000


def member(number: int, **changes: Any) -> Record:
    values: dict[str, Any] = {
        "name": f"ga-{number:05d}",
        "params": {"algorithm": "ga", "lr": 1e-3, "long": "x" * 7000, "unicode": "λ → ∞ 🦊"},
        "tags": {
            "key": f"0123456789abcdef-{number:05d}",
            "sample_id": str(number),
            "status": "flipped",
            "long": "ü" * 9000,
            "empty": "",
        },
        "metrics": {
            "gt": 0.1 * number,
            "none": math.nan,
            "up": math.inf,
            "down": -math.inf,
            "zero": 0.0,
            "tiny": 5e-324,
        },
        "histories": {
            "forget_prob": [1 - k / 30 for k in range(31)],
            "flat": [0.5] * 5,
            "broken": [1.0, math.nan, math.inf],
        },
        "artifacts": {"checkpoint-0000000000000000.safetensors": os.urandom(200)},
        "started_ms": STARTED,
        "ended_ms": ENDED,
    }
    return Record(**(values | changes))


DIGEST = "0123456789abcdef"
SWEEP = Record(
    name="sweep",
    params={"samples": 4},
    tags={"key": sweep_key([DIGEST], [1, 2, 3, 4], "sweep")},
    metrics={},
    artifacts={
        "plan.json": json.dumps(
            {
                "name": "sweep",
                "algorithms": {"ga": {"digest": DIGEST}},
                "sample_ids": [1, 2, 3, 4],
                "factors": [],
            }
        ).encode()
    },
    started_ms=STARTED,
    ended_ms=STARTED,
)


# What every kind of store does

KINDS = [
    "bulk",
    "client",
    pytest.param("server", marks=pytest.mark.slow),
    pytest.param(
        "postgres",
        marks=[
            pytest.mark.slow,
            pytest.mark.postgres,
            pytest.mark.skipif(bool(postgres.why_not()), reason=postgres.why_not()),
        ],
    ),
]


@pytest.fixture(scope="module", params=KINDS)
def anywhere(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A store of a kind."""
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "server":
            yield open_store(folder / "mine", stack.enter_context(mlflow_server(folder)))
        elif request.param == "postgres":
            uri = stack.enter_context(postgres.server(folder / "server"))
            yield open_store(folder / "mine", uri)
        else:
            yield opened(Store if request.param == "client" else SqlStore, folder)


@dataclass(frozen=True)
class Own:
    """A sweep of a test's own in the store."""

    store: Store
    experiment: str
    sweep: str
    digest: str

    def member(self, number: int, **changes: Any) -> Record:
        one = member(number, **changes)
        return replace(one, tags={**one.tags, "key": f"{self.digest}-{number:05d}"})

    def write(self, *members: Record, **more: Any) -> list[str]:
        found = self.store.write_members(self.experiment, self.sweep, members, **more)
        return [each.run_id for each in found]

    @property
    def done(self) -> dict[int, Any]:
        """The finished members, by number."""
        found = self.store.finished_members([self.digest])
        return {int(key.partition("-")[2]): each for key, each in found.items()}


@pytest.fixture
def own(anywhere: Store, request: pytest.FixtureRequest) -> Own:
    digest = hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    experiment = anywhere.experiment_id("digits", digest)
    record = replace(SWEEP, tags={"key": sweep_key([digest], [1, 2, 3, 4], "sweep")})
    return Own(anywhere, experiment, anywhere.begin_sweep(experiment, record, DATA), digest)


def test_members_are_read_as_they_were_written(own: Own) -> None:
    assert len(own.write(own.member(1), own.member(2), own.member(30))) == 3
    assert sorted(own.done) == [1, 2, 30]
    for number, found in own.done.items():
        assert (found.status, found.sweep_id) == ("flipped", own.sweep)
        assert found.metrics["gt"] == 0.1 * number
        assert not found.has_checkpoint
    one = own.member(1)
    (logged,) = own.store.logged([own.done[1].run_id], ["forget_prob"])
    assert logged.histories == {"forget_prob": one.histories["forget_prob"]}
    assert logged.params["unicode"] == one.params["unicode"]
    assert (logged.started_ms, logged.ended_ms, logged.status) == (STARTED, ENDED, "FINISHED")
    for file in one.artifacts:
        assert own.store.artifacts.read(logged.artifact_uri, file) is not None
    (whole,) = own.store.reader.whole([logged.run_id])
    assert len(whole.points) == 31 + 5 + 3 + 6
    assert own.store.reader.run(own.sweep).kind == Kind.SWEEP
    assert {own.sweep, logged.run_id} <= own.store.reader.every_id()


def test_a_reader_has_the_same_tables_of_every_kind(own: Own) -> None:
    ids = own.write(own.member(1), own.member(2))
    reader = own.store.reader
    runs = [row for row in reader.runs().to_pylist() if row["run_id"] in ids]
    assert [(row["kind"], row["status"]) for row in runs] == [("member", "FINISHED")] * 2
    rows = reader.rows(ids)
    assert [rows[name].num_rows for name in ("params", "metrics")] == [2 * 4, 2 * 9]
    finite = {"gt", "zero", "tiny", "forget_prob", "flat", "up", "down", "broken"}
    defined = {r["key"] for r in rows["metrics"].to_pylist() if r["value"] == r["value"]}
    assert finite <= defined
    histories = reader.histories(ids).to_pylist()
    assert len(histories) == 2 * 31
    assert histories[0]["forget_loss"] is None
    assert histories[30]["forget_prob"] == 0.0
    points = reader.points(ids, ["broken"])
    assert sorted(step for _, _, _, step, _ in zip(*points, strict=True)) == [0, 0, 1, 1, 2, 2]


def test_what_is_there_is_not_written_again(own: Own) -> None:
    if type(own.store) is Store:
        pytest.skip("members of a server have one driver, and are not looked for")
    ids = own.write(own.member(1))
    assert own.write(own.member(1, metrics={"gt": 5.0}), own.member(2))[:1] == ids
    assert own.done[1].metrics["gt"] == 0.1
    assert len(own.done) == 2


def test_there_is_one_parent_run_of_a_key(own: Own) -> None:
    record = replace(SWEEP, tags={"key": own.digest})
    ids = [own.store.begin_sweep(own.experiment, record, DATA) for _ in range(2)]
    own.store.interrupt(ids[0])
    assert own.store.begin_sweep(own.experiment, record, DATA) == ids[0] == ids[1]
    other = replace(SWEEP, tags={"key": own.digest + "p"})
    made = [own.store.log_once(Kind.PREDICTION, own.experiment, other, DATA) for _ in range(2)]
    run: Any = own.store.run(made[0])
    assert (made[1], run.status) == (made[0], "FINISHED")
    inputs = own.store.client.get_run(made[0]).inputs
    assert inputs is not None
    assert inputs.dataset_inputs[0].dataset.name == "digits"
    own.store.close_sweep(ids[0], {"ga/mean_gt": 0.5}, "a note", ENDED)
    closed = own.store.run(ids[0])
    assert (closed.status, closed.metrics) == ("FINISHED", {"ga/mean_gt": 0.5})


def test_a_deleted_run_is_replaced(own: Own) -> None:
    ids = own.write(own.member(1), own.member(2))
    own.store.discard(ids[:1])
    assert list(own.done) == [2]
    own.write(own.member(1, metrics={"gt": 7.0}))
    assert (own.done[1].metrics["gt"], len(own.done)) == (7.0, 2)


def test_a_checkpoint_can_be_dropped(own: Own) -> None:
    content = b"weights"
    sha256 = hashlib.sha256(content).hexdigest()
    one, files = own.member(1), {file_name("checkpoint", sha256): content}
    (run_id,) = own.write(replace(one, tags={**one.tags, "checkpoint": sha256}, artifacts=files))
    assert own.done[1].has_checkpoint
    own.store.drop_checkpoint(run_id)
    assert not own.done[1].has_checkpoint
    assert own.store.client.list_artifacts(run_id) == []


def test_factors_and_tags_are_added(own: Own) -> None:
    ids = own.write(own.member(1), own.member(2))
    new = {"gt": 3.0, "more": 4.0, "undefined": math.nan}
    measured = [Measured(i, new, {"f": "2"}, c) for i, c in zip(ids, (None, "x"), strict=True)]
    assert own.store.add_factors(measured) == 1  # the other one was replaced meanwhile
    one, other = own.store.logged(ids, [])
    assert (one.metrics["gt"], one.metrics["more"], one.tags[VERSIONS]) == (3.0, 4.0, '{"f":"2"}')
    assert "undefined" not in one.metrics
    assert MEASURED_AT in one.tags
    assert "more" not in other.metrics
    own.store.retag(own.sweep, "level", {ids[0]: "hard"})
    own.store.retag(own.sweep, "level", {ids[1]: "easy"})
    assert [run.tags.get("level") for run in own.store.logged(ids, [])] == [None, "easy"]
    assert own.store.note_metrics(ids[0], {"mine": 1.0})
    assert not own.store.note_metrics(ids[0], {"mine": 1.0})
    own.store.attach(ids[0], "a.txt", b"content", ("a", "told"))
    run = own.store.run(ids[0])
    assert own.store.artifacts.read(run.artifact_uri, "a.txt") == b"content"
    assert own.store.artifacts.read(run.artifact_uri, "b.txt") is None
    own.store.artifacts.write_again(run.artifact_uri, "images", {"b.png": b"b"})


# How rows are written in bulk


def filled(store: AnyStore, members: list[Record]) -> tuple[AnyStore, str]:
    experiment = store.experiment_id("digits", "small-cnn")
    sweep = store.begin_sweep(experiment, SWEEP, DATA)
    store.write_members(experiment, sweep, members)
    return store, sweep


def tables(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, run ids replaced by names, clocks and other ids left out."""
    with closing(sqlite3.connect(store.address.folder / "mlflow.db")) as connection:
        connection.row_factory = sqlite3.Row
        names = {r["run_uuid"]: r["name"] for r in connection.execute("select * from runs")}
        found = {}
        everything = "select name from sqlite_master where type = 'table'"
        for (table,) in connection.execute(everything).fetchall():
            rows = [dict(row) for row in connection.execute(f'select * from "{table}"')]
            found[table] = sorted(
                (_plain(row, names, store.address.folder) for row in rows), key=repr
            )
    return found


def _plain(row: dict[str, Any], names: dict[str, str], folder: Path) -> dict[str, Any]:
    plain = {}
    for column, value in row.items():
        if column in ("creation_time", "last_update_time", "dataset_uuid", "input_uuid"):
            continue
        if column in ("source_id", "destination_id") and value not in names:
            continue
        if row.get("key") == TAG and column == "value":
            value = "the store's id"
        if isinstance(value, str):
            for run_id, name in names.items():
                value = value.replace(run_id, name)
            value = value.replace(str(folder), "")
        plain[column] = value
    return plain


@pytest.mark.slow
def test_every_table_equals_the_clients(tmp_path: Path) -> None:
    members = [member(1), member(2, metrics={}, artifacts={}), member(3, histories={})]
    by_client, _ = filled(opened(Store, tmp_path / "client"), members)
    in_bulk, _ = filled(opened(SqlStore, tmp_path / "bulk"), members)
    expected, found = tables(by_client), tables(in_bulk)
    assert set(found) == set(expected)
    assert len(found) > 20
    for table, rows in expected.items():
        assert found[table] == rows, table
    assert len(expected["runs"]) == 4
    assert len(expected["metrics"]) == 2 * (31 + 5 + 3) + 2 * 6
    stored = {r["key"]: len(r["value"]) for r in expected["params"] + expected["tags"]}
    assert stored["long"] == 8000  # the longest tag; the longest param is 6,000


WAITING = """
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("begin immediate")
print(flush=True)
time.sleep(1)
held.execute("commit")
"""


def test_a_held_database_is_waited_for(tmp_path: Path) -> None:
    store, sweep = filled(opened(SqlStore, tmp_path), [])
    command = [sys.executable, "-c", WAITING, str(tmp_path / "mlflow.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        store.write_members(store.experiment_id("digits", "small-cnn"), sweep, [member(1)])
    assert len(tables(store)["runs"]) == 2


WRITES = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); {}; c.commit(); c.close()"


def test_reading_loses_nothing_that_others_in_this_process_write(
    trained: Path, tmp_path: Path
) -> None:
    """As MLflow does in a notebook, while a command in a shell comes and goes.

    Where reading dropped the locks of this process, the command would be the last at the file, and
    delete the log into which this process goes on writing.
    """
    folder = own_copy(trained, tmp_path)

    def in_another_process(statement: str) -> None:
        command = [sys.executable, "-c", WRITES.format(statement), str(folder / "mlflow.db")]
        subprocess.run(command, check=True)

    with closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as mine:
        mine.execute("create table mine (n)")
        reader = open_reader(folder)
        (run,) = reader.of_kind(Kind.BASE_MODEL)
        assert reader.rows([run.run_id])["params"].num_rows
        in_another_process("c.execute('insert into mine values (1)')")
        mine.execute("insert into mine values (2)")
        in_another_process("assert c.execute('select n from mine').fetchall() == [(1,), (2,)]")


def test_a_signal_waits_for_the_end_of_a_transaction(tmp_path: Path) -> None:
    store = opened(SqlStore, tmp_path)

    def write(session: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        session.execute(text("insert into experiment_tags values ('came', 'before', 0)"))

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            store._transaction(write)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert store.client.get_experiment("0").tags["came"] == "before"
