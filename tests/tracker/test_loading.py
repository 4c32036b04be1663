"""Loading what changed, from a database directly or through the client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from analysis.warehouse import open_warehouse
from tests.tracker.test_bulk import DATA, SWEEP, member
from tracker.reading import loading
from tracker.store import queries, read
from tracker.store.bulk import run_id_of
from tracker.store.opening import open_reader, open_store
from tracker.store.read import ClientReader, Reader
from tracker.store.write import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a sweep of three members."""
    store = open_store(tmp_path)
    experiment = store.experiment_id("digits", "small-cnn")
    sweep_id = store.begin_sweep(experiment, SWEEP, DATA)
    store.write_members(experiment, sweep_id, [member(n) for n in (1, 2, 3)])
    return store


def reader(store: Store) -> Reader:
    return open_reader(store.address.folder)


def asked(store: Store, query: str) -> list[Any]:
    with open_warehouse(store.address.folder / "w.duckdb") as warehouse:
        return warehouse.query(query).rows


def ids(store: Store) -> set[str]:
    return {run_id for (run_id,) in asked(store, "select run_id from internal.runs")}


def load(store: Store, **options: Any) -> tuple[int, int]:
    found = loading.load(reader(store), store.address.folder / "w.duckdb", **options)
    return len(found.changes.read), len(found.changes.forget)


def test_only_what_changed_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "AT_A_TIME", 2)
    assert load(store) == (4, 0)
    keys = [member(n).key for n in (1, 2, 3)]
    found = asked(store, "select key, run_id_of(key) from internal.runs")
    assert dict(found) == {key: run_id_of(key) for key in keys}
    assert load(store) == (0, 0)
    experiment = store.experiment_id("digits", "small-cnn")
    (sweep,) = (run for run in store.runs([experiment], "tags.kind = 'sweep'"))
    store.write_members(experiment, sweep.run_id, [member(4)])
    client, (gone, edited, *_) = MlflowClient(store.address.uri), sorted(ids(store))
    client.delete_run(gone)
    assert load(store) == (1, 1)
    assert (len(ids(store)), gone in ids(store)) == (3, False)
    client.restore_run(gone)
    store.close_sweep(sweep.run_id, {"ga/flip_rate": 1.0}, "done")
    client.set_tag(edited, "status", "max_steps")
    assert load(store) == (2, 1)
    assert gone in ids(store)
    assert asked(store, "select finished, planned from sweeps") == [(4, 4)]
    rate = "select value from staging.metrics where key = 'ga/flip_rate'"
    assert asked(store, rate) == [(1.0,)]
    # Tags that were edited by hand are seen by a deep load.
    status = f"select status from internal.runs where run_id = '{edited}'"
    assert asked(store, status) == [("flipped",)]
    assert load(store, deep=True) == (5, 0)
    assert asked(store, status) == [("max_steps",)]
    monkeypatch.setattr("analysis.warehouse._made_by", lambda: "another version")
    assert load(store) == (5, 0)


def test_what_is_damaged_is_said_and_stops_nothing(store: Store) -> None:
    experiment = store.experiment_id("digits", "small-cnn")
    (sweep,) = (run for run in store.runs([experiment], "tags.kind = 'sweep'"))
    store.close_sweep(sweep.run_id, {}, "done")
    Path(sweep.artifact_uri.removeprefix("file://"), "plan.json").unlink()
    path = store.address.folder / "w.duckdb"
    path.write_bytes(b"no database" * 999)
    loaded = loading.load(reader(store), path)
    assert list(loaded.lost) == [sweep.run_id]
    assert "called again writes it anew" in loaded.lost[sweep.run_id]
    assert len(ids(store)) == 3


def test_the_database_and_the_client_give_the_same_rows(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(reader: Reader) -> dict[str, list[str]]:
        runs = reader.runs()
        run_ids = runs["run_id"].to_pylist()
        tables, lost = loading.staging(reader, runs, run_ids)
        assert not lost
        tables |= loading.logged(reader, run_ids, run_ids)
        # The client says NaN where the database says NULL; the relations have no row either way.
        return {
            name: sorted(repr(tuple(row.values())).replace("nan", "None") for row in rows)
            for name, rows in ((name, table.to_pylist()) for name, table in tables.items())
        }

    expected = rows(reader(store))
    assert rows(ClientReader(store)) == expected
    assert min(len(expected[name]) for name in ("runs", "params", "tags", "metrics", "plans")) > 3
    monkeypatch.setattr(queries, "AT_A_TIME", 2)
    monkeypatch.setattr(read, "AT_A_TIME", 3)
    assert rows(reader(store)) == rows(ClientReader(store)) == expected
