"""What is in the store, as rows for a reader."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mlflow.entities import Run

from indelible.tracker.records import Kind
from indelible.tracker.store import Store


def models(store: Store) -> list[dict[str, Any]]:
    """The finished base models, newest first."""
    return [
        _row(run, ("dataset", "arch", "seed", "epochs", "optimizer", "lr"))
        | {name: run.data.metrics[name] for name in ("train_accuracy", "test_accuracy")}
        for run in store.finished_runs(Kind.BASE_MODEL)
    ]


def sweeps(store: Store) -> list[dict[str, Any]]:
    """All sweeps, newest first, finished or not."""
    ids = [experiment.experiment_id for experiment in store.experiments()]
    return [
        _row(run, ("dataset", "arch", "algorithms", "samples", "seed", "base_run_id"))
        | {"status": run.info.status}
        for run in store.runs(ids, f"tags.kind = '{Kind.SWEEP}'")
    ]


def _row(run: Run, params: tuple[str, ...]) -> dict[str, Any]:
    started = datetime.fromtimestamp(run.info.start_time / 1000).astimezone()
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        **{name: run.data.params.get(name) for name in params},
        "started": started,
    }
