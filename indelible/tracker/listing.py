"""What is in the store, as rows for a reader."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mlflow.entities import Run

from indelible.errors import UserError
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


def find_sweep(store: Store, reference: str) -> Run:
    """The sweep of that run id, or the `latest`. Raises UserError where there is none."""
    if reference == "latest":
        ids = [experiment.experiment_id for experiment in store.experiments()]
        for run in store.runs(ids, f"tags.kind = '{Kind.SWEEP}'"):
            return run
        raise UserError("there is no sweep in this store yet: run 'indelible sweep' first")
    run = store.run(reference)
    if run.data.tags.get("kind") != Kind.SWEEP:
        raise UserError(f"run {reference} is not a sweep: 'indelible sweeps' lists those")
    return run


def _row(run: Run, params: tuple[str, ...]) -> dict[str, Any]:
    started = datetime.fromtimestamp(run.info.start_time / 1000).astimezone()
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        **{name: run.data.params.get(name) for name in params},
        "started": started,
    }
