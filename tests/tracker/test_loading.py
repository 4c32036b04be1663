"""Loading what changed, from a database directly or through the client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

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


def at(store: Store) -> Path:
    return store.address.folder


def reader(store: Store) -> Reader:
    return open_reader(store.address.folder)


def ids(store: Store) -> set[str]:
    with open_warehouse(at(store) / "w.duckdb") as warehouse:
        return {row[0] for row in warehouse.query("select run_id from internal.runs").rows}


def load(store: Store, **options: Any) -> tuple[int, int]:
    changes = loading.load(reader(store), at(store) / "w.duckdb", **options).changes
    return len(changes.read), len(changes.forget)


def content(path: Path) -> list[Any]:
    with open_warehouse(path) as warehouse:
        return [
            warehouse.query(f'select * from staging."{name}" order by all').rows
            for name in ("runs", "params", "tags", "metrics", "histories", "plans", "catalogs")
        ]


def test_sql_and_the_tracker_make_the_same_id_of_a_key(store: Store) -> None:
    load(store)
    keys = [member(n).key for n in (1, 2, 3)]
    with open_warehouse(at(store) / "w.duckdb") as warehouse:
        rows = warehouse.query("select key, run_id_of(key) from internal.runs").rows
    assert dict(rows) == {key: run_id_of(key) for key in keys}


@pytest.mark.slow
def test_only_what_changed_is_read(store: Store) -> None:
    assert load(store) == (4, 0)
    assert load(store) == (0, 0)
    experiment = store.experiment_id("digits", "small-cnn")
    (sweep,) = (run for run in store.runs([experiment], "tags.kind = 'sweep'"))
    store.write_members(experiment, sweep.info.run_id, [member(4)])
    assert load(store) == (1, 0)
    assert len(ids(store)) == 4
    store.close_sweep(sweep.info.run_id, {"ga/flip_rate": 1.0}, "done")
    assert load(store) == (1, 1)
    with open_warehouse(at(store) / "w.duckdb") as warehouse:
        rate = "select value from staging.metrics where key = 'ga/flip_rate'"
        assert warehouse.query(rate).rows == [(1.0,)]
        assert warehouse.query("select finished, planned from sweeps").rows == [(4, 4)]


@pytest.mark.slow
def test_deleted_and_restored_runs_are_seen(store: Store) -> None:
    load(store)
    client, gone = MlflowClient(store.address.uri), next(iter(ids(store)))
    client.delete_run(gone)
    assert load(store) == (0, 1)
    assert gone not in ids(store)
    client.restore_run(gone)
    assert load(store) == (1, 0)
    assert gone in ids(store)


def test_edited_tags_are_seen_by_a_deep_load(store: Store) -> None:
    load(store)
    client, run_id = MlflowClient(store.address.uri), next(iter(ids(store)))
    client.set_tag(run_id, "status", "max_steps")

    def status() -> Any:
        with open_warehouse(at(store) / "w.duckdb") as warehouse:
            found = warehouse.query(f"select status from internal.runs where run_id = '{run_id}'")
            return found.rows[0][0]

    assert load(store) == (0, 0)
    assert status() == "flipped"
    assert load(store, deep=True) == (4, 0)
    assert status() == "max_steps"


def test_the_database_and_the_client_give_the_same_rows(store: Store) -> None:
    loading.load(reader(store), at(store) / "database.duckdb")
    loading.load(ClientReader(store), at(store) / "client.duckdb")
    by_database = content(at(store) / "database.duckdb")
    by_client = content(at(store) / "client.duckdb")
    # The client says NaN where the database says NULL; the relations have no row either way.
    by_client[3] = [(r, k, None if v != v else v) for r, k, v in by_client[3]]
    assert [sorted(rows, key=repr) for rows in by_database] == [
        sorted(rows, key=repr) for rows in by_client
    ]


@pytest.mark.slow
def test_more_runs_than_are_asked_for_one_by_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading.load(reader(store), at(store) / "few.duckdb")
    monkeypatch.setattr(queries, "AT_A_TIME", 2)
    loading.load(reader(store), at(store) / "many.duckdb")
    assert content(at(store) / "few.duckdb") == content(at(store) / "many.duckdb")
    for at_a_time in (1, 3):
        monkeypatch.setattr(loading, "AT_A_TIME", at_a_time)
        monkeypatch.setattr(read, "AT_A_TIME", at_a_time)
        loading.load(reader(store), at(store) / "parts.duckdb", deep=True)
        assert content(at(store) / "few.duckdb") == content(at(store) / "parts.duckdb")


def test_a_warehouse_that_is_damaged_or_of_other_sql_is_made_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(store)
    (at(store) / "w.duckdb").write_bytes(b"no database" * 999)
    assert load(store) == (4, 0)
    monkeypatch.setattr("analysis.warehouse._made_by", lambda: "another version")
    assert load(store) == (4, 0)
    assert load(store) == (0, 0)


def test_a_sweep_without_its_plan_is_said_and_stops_nothing(store: Store) -> None:
    experiment = store.experiment_id("digits", "small-cnn")
    (sweep,) = (run for run in store.runs([experiment], "tags.kind = 'sweep'"))
    store.close_sweep(sweep.info.run_id, {}, "done")
    Path(sweep.info.artifact_uri.removeprefix("file://"), "plan.json").unlink()
    loaded = loading.load(reader(store), at(store) / "w.duckdb")
    assert list(loaded.lost) == [sweep.info.run_id]
    assert "called again writes it anew" in loaded.lost[sweep.info.run_id]
    assert len(ids(store)) == 3


def test_a_run_that_a_server_gives_twice_is_there_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a run is begun between two of its pages."""
    monkeypatch.setattr(read, "AT_A_TIME", 2)
    runs = store.runs

    def doubled(*arguments: Any) -> Iterator[Run]:
        for run in runs(*arguments):
            yield from (run, run)

    monkeypatch.setattr(store, "runs", doubled)
    found = ClientReader(store)
    run_ids = found.runs()["run_id"].to_pylist()
    assert len(run_ids) == len(set(run_ids)) > 3
    for table in found.rows(run_ids).values():
        rows = [tuple(row.values()) for row in table.select(["run_id", "key"]).to_pylist()]
        assert len(rows) == len(set(rows)) > 0
