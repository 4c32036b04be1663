"""Metrics with one value a step, of many runs, through MLflow's client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple

from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.rest_utils import http_request

from tracker.store.runs import Runs

# What the chart of MLflow's own pages asks, so that a request is not made for each run.
IN_BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
RUNS, VALUES = 100, 25_000  # that it answers at most


class Value(NamedTuple):
    """One value of a metric."""

    run_id: str
    key: str
    step: int
    value: float


def values_by_step(store: Runs, run_ids: Sequence[str], key: str) -> Iterator[Value]:
    """All values of a metric, of these runs."""
    for start in range(0, len(run_ids), RUNS):
        some = run_ids[start : start + RUNS]
        found = store.patience(partial(_in_bulk, store, some, key))
        yield from _one_by_one(store, some, key) if found is None else found


def _in_bulk(store: Runs, run_ids: Sequence[str], key: str) -> list[Value] | None:
    """The values in one request; None where there is no server that answers it in full."""
    backend: Any = store.client._tracking_client.store
    if not isinstance(backend, RestStore):
        return None
    asked = [*(("run_id", run_id) for run_id in run_ids), ("metric_key", key)]
    answer = http_request(backend.get_host_creds(), IN_BULK, "GET", params=asked)
    if answer.status_code != HTTPStatus.OK:
        return None
    found = answer.json()["metrics"]
    if len(found) >= VALUES:
        return None
    return [Value(each["run_id"], key, int(each["step"]), float(each["value"])) for each in found]


def _one_by_one(store: Runs, run_ids: Sequence[str], key: str) -> Iterator[Value]:
    for run_id in run_ids:
        for each in store.client.get_metric_history(run_id, key):
            yield Value(run_id, key, each.step, each.value)
