"""The bulk writer writes the rows that MLflow's client would."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.tracking.dbmodels.models import SqlParam

from tests.tracker.conftest import AnyStore, opened, own_copy
from tracker.store import patience
from tracker.store.bulk import SqlStore
from tracker.store.identity import TAG
from tracker.store.opening import open_reader, open_store
from tracker.store.records import AVERAGED, KEPT_STEP, Data, Histories, Kind, Record
from tracker.store.rows import TESTED, run_id_of, untested_schema
from tracker.store.store import Store
from tracker.sweep.again import is_the_same
from tracker.sweep.plan import sweep_key
from unlearning.errors import Failure

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


def test_artifacts_are_where_the_client_finds_them(tmp_path: Path) -> None:
    store, _ = filled(opened(SqlStore, tmp_path), [one := member(1)])
    run = store.run(run_id_of(one.key))
    for name, content in one.artifacts.items():
        assert store.artifacts.read(run.info.artifact_uri, name) == content


def test_a_second_write_changes_nothing(tmp_path: Path) -> None:
    store, sweep = filled(opened(SqlStore, tmp_path), [member(1)])
    before = tables(store)
    experiment = store.experiment_id("digits", "small-cnn")
    store.write_members(experiment, sweep, [member(1, metrics={"gt": 5.0})])
    assert tables(store) == before
    store.write_members(experiment, sweep, [member(1), member(2)])
    assert len(tables(store)["runs"]) == 3


def test_a_deleted_run_is_replaced(tmp_path: Path) -> None:
    store, sweep = filled(opened(SqlStore, tmp_path), [member(1), member(2)])
    store.discard([run_id_of(member(1).key)])
    digest = member(1).key.partition("-")[0]
    assert list(store.finished_members([digest])) == [member(2).key]
    experiment = store.experiment_id("digits", "small-cnn")
    store.write_members(experiment, sweep, [member(1, metrics={"gt": 7.0}), member(2)])
    done = store.finished_members([digest])
    assert done[member(1).key].metrics["gt"] == 7.0
    assert len(done) == 2


@pytest.mark.parametrize("kind", [Store, SqlStore])
def test_finished_members_are_found_the_same_way(tmp_path: Path, kind: type[Store]) -> None:
    store, _ = filled(opened(kind, tmp_path), [member(1), member(2), member(30)])
    done = store.finished_members([member(1).key.partition("-")[0], "f" * 16])
    assert sorted(done) == [member(n).key for n in (1, 2, 30)]
    for number in (1, 2, 30):
        found = done[member(number).key]
        assert found.status == "flipped"
        assert found.metrics["gt"] == 0.1 * number
        assert not found.has_checkpoint


@pytest.mark.parametrize("kind", [Store, SqlStore])
@pytest.mark.parametrize("kept", [Histories.RUNS, Histories.NONE])
def test_the_final_value_is_of_the_step_that_is_kept(
    tmp_path: Path, kind: type[Store], kept: Histories
) -> None:
    curves, steps = {"forget_prob": [1 - k / 30 for k in range(31)]}, {AVERAGED["steps"]: 30.0}
    last = member(1, histories=curves, metrics=steps)
    one = replace(last, tags={**last.tags, KEPT_STEP: "2"})
    written = one if kept is Histories.RUNS else one.without_histories()
    store, _ = filled(opened(kind, tmp_path), [written])
    (run,) = store.finished_runs(Kind.MEMBER)
    assert run.data.metrics["forget_prob"] == curves["forget_prob"][2]
    (found,) = store.logged([run.info.run_id], ["forget_prob"])
    assert is_the_same(found, one)
    assert not is_the_same(found, last)
    assert found.histories == (curves if kept is Histories.RUNS else {})


def test_a_checkpoint_can_be_dropped(tmp_path: Path) -> None:
    one = member(1)
    store, _ = filled(
        opened(SqlStore, tmp_path), [member(1, tags={**one.tags, "checkpoint": "0" * 64})]
    )
    run_id, digest = run_id_of(one.key), one.key.partition("-")[0]
    assert store.finished_members([digest])[one.key].has_checkpoint
    store.drop_checkpoint(run_id)
    assert not store.finished_members([digest])[one.key].has_checkpoint
    assert store.client.list_artifacts(run_id) == []


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[tuple[SqlStore, str, sqlite3.Connection]]:
    store, sweep = filled(opened(SqlStore, tmp_path), [])
    with closing(
        sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None, check_same_thread=False)
    ) as other:
        other.execute("begin immediate")
        yield store, sweep, other


def test_a_held_database_is_waited_for(
    locked: tuple[SqlStore, str, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sweep, other = locked
    monkeypatch.setattr(store, "_session", impatient(store))
    threading.Timer(0.7, other.execute, ["commit"]).start()
    store.write_members(store.experiment_id("digits", "small-cnn"), sweep, [member(1)])
    assert len(tables(store)["runs"]) == 2


def test_a_database_that_is_never_free_is_a_failure(
    locked: tuple[SqlStore, str, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sweep, other = locked
    monkeypatch.setattr(patience, "HELD_S", 0.3)
    monkeypatch.setattr(store, "_session", impatient(store))
    with pytest.raises(Failure, match="held by another process"):
        store.write_members(store.experiment_id("digits", "small-cnn"), sweep, [member(1)])
    other.execute("rollback")
    assert len(tables(store)["runs"]) == 1


def impatient(store: SqlStore) -> Any:
    """Sessions that do not wait for a lock, where MLflow's wait for 20 seconds."""
    from contextlib import contextmanager

    from sqlalchemy import text

    real = store._session

    @contextmanager
    def session() -> Iterator[Any]:
        with real() as opened:
            opened.execute(text("pragma busy_timeout = 10"))
            yield opened

    return session


def test_the_installed_mlflow_is_one_it_was_tested_with() -> None:
    assert untested_schema() is None


def test_another_schema_is_left_to_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TESTED, SqlParam, {"key", "value", "run_uuid", "colour"})
    said: list[str] = []
    store = open_store(tmp_path, None, said.append)
    assert type(store) is Store
    assert any("params: colour" in line for line in said)


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
