"""The store alone: runs a second in bulk and through MLflow's public client.

Each run is of the size that a trial had: 20 params, 17 tags, 35 metrics and 90 metric rows, no
artifacts. The client's figure is `create_run`, one `log_batch` and `set_terminated`.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from tests.postgres import server, why_not
from tracker.store.bulk import SqlStore
from tracker.store.opening import open_store
from tracker.store.records import Data, Record, all_metrics

CHUNK = 100
COUNT, FEW, ROUNDS = 1000, 150, 3  # runs in bulk, and through the client
SMALLEST = {"CHUNK": 2, "COUNT": 2, "FEW": 1, "ROUNDS": 1}


def record(number: int, group: str) -> Record:
    histories = {name: [k / 28 for k in range(28)] for name in ("forget_prob", "forget_loss")}
    tags = {f"tag{k}": f"value {k}" for k in range(13)}
    return Record(
        name=f"ga-{number:05d}",
        params={f"param{k}": 0.001 * k for k in range(20)},
        tags={**tags, "key": f"{group}-{number:05d}"},
        metrics={f"metric{k}": 0.1 * k + number for k in range(33)},
        histories=histories,
        started_ms=1_700_000_000_000 + 500 * (number // CHUNK),
        ended_ms=1_700_000_001_000 + 500 * (number // CHUNK),
    )


def bulk(store: SqlStore, experiment: str, sweep: str, count: int, group: str) -> float:
    members = [record(n, group) for n in range(count)]
    started = time.perf_counter()
    for start in range(0, count, CHUNK):
        store.write_members(experiment, sweep, members[start : start + CHUNK])
    return count / (time.perf_counter() - started)


def client(uri: str, experiment: str, count: int) -> float:
    plain = MlflowClient(uri)
    members = [record(n, "client") for n in range(count)]
    started = time.perf_counter()
    for member in members:
        run_id = plain.create_run(experiment, run_name=member.name).info.run_id
        params = [Param(name, str(value)) for name, value in member.params.items()]
        tags = [RunTag(name, value) for name, value in member.tags.items()]
        plain.log_batch(run_id, [Metric(*p) for p in all_metrics(member)], params, tags)
        plain.set_terminated(run_id)
    return count / (time.perf_counter() - started)


def begun(store: SqlStore) -> tuple[str, str]:
    experiment = store.experiment_id("digits", "small-cnn")
    parent = Record("sweep", {}, {"key": "ab" * 16}, {}, 0, 0)
    return experiment, store.begin_sweep(experiment, parent, Data("digits", "f" * 64, {}))


def compare(name: str, folder: Path, uri: str | None) -> None:
    store = open_store(folder, uri)
    assert isinstance(store, SqlStore)
    experiment, sweep = begun(store)
    bulk(store, experiment, sweep, CHUNK, "warm")
    rates = [
        (bulk(store, experiment, sweep, COUNT, f"r{n}"), client(store.address.uri, experiment, FEW))
        for n in range(ROUNDS)
    ]
    ratios = sorted(ours / theirs for ours, theirs in rates)
    fast, slow = max(r[0] for r in rates), max(r[1] for r in rates)
    print(
        f"{name:11} bulk {fast:6.0f} runs/s, client {slow:5.0f} runs/s, "
        f"ratio {median(ratios):.1f} (of {ROUNDS}: {ratios[0]:.1f} to {ratios[-1]:.1f})",
        flush=True,
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        compare("SQLite", Path(folder) / "sqlite", None)
        if why_not():
            print(f"PostgreSQL  {why_not()}")
            return
        with server(Path(folder) / "postgres") as uri:
            compare("PostgreSQL", Path(folder) / "artifacts", uri)
