"""MLflow to the warehouse: every run of this tool as staging rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from mlflow.entities import Run

from indelible import factors
from indelible.analysis import warehouse
from indelible.tracker.plan import planned_keys
from indelible.tracker.records import Kind
from indelible.tracker.store import Store


def load(store: Store, path: Path) -> int:
    """Rebuild the warehouse at `path` from the store; how many runs were read."""
    names = {e.experiment_id: e.name for e in store.experiments()}
    runs = list(store.runs(list(names)))
    rows: dict[str, Iterable[dict[str, Any]]] = {
        "runs": [_run(run, names[run.info.experiment_id]) for run in runs],
        "params": _pairs((run, run.data.params) for run in runs),
        "tags": _pairs((run, run.data.tags) for run in runs),
        "metrics": _pairs((run, run.data.metrics) for run in runs),
        "plans": [row for run in runs if _is_sweep(run) for row in _plan(store, run)],
        "factor_catalog": catalog(),
    }
    warehouse.rebuild(
        path,
        {
            name: pa.Table.from_pylist(list(rows[name]), schema=schema)
            for name, schema in warehouse.STAGING.items()
        },
    )
    return len(runs)


def catalog() -> list[dict[str, Any]]:
    """The factor catalog as rows."""
    return [
        {
            "position": position,
            "factor": column.name,
            **{n: v for n, v in vars(column).items() if n != "name"},
        }
        for position, column in enumerate(factors.columns())
    ]


def _is_sweep(run: Run) -> bool:
    return bool(run.data.tags.get("kind") == Kind.SWEEP)


def _run(run: Run, experiment: str) -> dict[str, Any]:
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "experiment": experiment,
        "kind": run.data.tags.get("kind"),
        "status": run.info.status,
        "start_time": _time(run.info.start_time),
        "end_time": _time(run.info.end_time),
    }


def _time(milliseconds: int | None) -> datetime | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).replace(tzinfo=None)


def _pairs(runs: Iterable[tuple[Run, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {"run_id": run.info.run_id, "key": key, "value": value}
        for run, values in runs
        for key, value in values.items()
    ]


def _plan(store: Store, run: Run) -> list[dict[str, Any]]:
    with store.artifact(run, "plan.json") as file:
        plan = json.loads(file.read_text("utf-8"))
    return [{"sweep_id": run.info.run_id, "key": key} for key in planned_keys(plan)]
