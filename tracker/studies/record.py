"""The record of an unlearning: what was asked, done and measured, as plain values."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from tracker.base.references import ACCURACY, SECONDS
from tracker.store.records import Run
from tracker.sweep.plan import FLIP
from unlearning.version import VERSION

if TYPE_CHECKING:
    from tracker.base.base_models import BaseRun
    from tracker.studies.request_table import Row
    from tracker.studies.requests import Requests

LIBRARIES = ("indelible", "torch", "mlflow", "numpy")
MEASURES = {
    FLIP: "a request counts as forgotten where the model's prediction is not its label",
    "reference": "a request counts as forgotten where the model's log-odds of its label are within "
    "the middle 90% of those of reference models that never saw it: |z| at its limit or below",
}


def as_record(
    run: Run,
    base: Run,
    base_run: BaseRun,
    requests: Requests,
    trials: Sequence[Mapping[str, Any]],
    rows: Sequence[Row],
    metrics: Mapping[str, float],
    weights_sha256: str,
) -> dict[str, Any]:
    """All of it by name; nothing is in it that was not measured or given.

    Args:
        run, base: of the unlearning, and of the base model.
        trials: as `as_tried` has them. rows: what became of requests. metrics: of the run.
        weights_sha256: of the unlearned weights.
    """
    model, plan = base_run.model, requests.plans[0]
    earlier = requests.earlier.record if requests.earlier else {}
    kept = next(trial for trial in trials if trial["is_kept"])
    spent = earlier.get("spent", {"calls": 0, "seconds": 0.0})
    begun = datetime.fromtimestamp(run.started_ms / 1000, UTC)
    return {
        "is_done": bool(metrics["is_done"]),
        "measure": MEASURES[plan.until],
        "max_loss": requests.max_loss,
        "requests": [
            vars(row) | {"is_forgotten": row.is_forgotten(requests.until)} for row in rows
        ],
        "model": {
            "architecture": base_run.arch,
            "base_run": base_run.run_id,
            "base_weights_sha256": base_run.weights_sha256,
            "weights_sha256": weights_sha256,
            "precision": plan.precision,
            "is_trained_without_requests": kept["is_exact"],
            "has_recipe": model.origin is not None,
        },
        "data": {
            "name": base_run.dataset,
            "fingerprint": model.dataset.fingerprint,
            "training_samples": len(model.dataset.train),
            "test_samples": len(model.dataset.test),
        },
        "how": {
            "until": plan.until,
            **{name: kept[name] for name in ("algorithm", "settings", "order")},
            "rounds": requests.rounds,
            "seed": plan.seed,
            "goes_on_from": earlier.get("run"),
        },
        "trials": list(trials),
        "references": _references(base, base_run),
        "spent": {
            "calls": spent["calls"] + 1,
            "seconds": spent["seconds"] + metrics["seconds"] - metrics.get("retrain_seconds", 0.0),
        },
        "retraining": _retraining(base, base_run, metrics, earlier.get("retraining", {})),
        "metrics": dict(sorted(metrics.items())),
        "run": run.run_id,
        "key": requests.key,
        "begun": begun.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            **{name: version(name) for name in LIBRARIES},
            "engine": VERSION,
            "python": platform.python_version(),
        },
    }


def _references(base: Run, base_run: BaseRun) -> dict[str, Any] | None:
    """The reference models; None where there are none."""
    origin, references = base_run.model.origin, base_run.model.references
    if references is None:
        return None
    return {
        "models": len(references),
        "test_accuracy": base.metrics.get(ACCURACY),
        "shift": references.shift,
        "digest": references.digest,
        "recipe": None if origin is None else vars(origin.recipe),
    }


def _retraining(
    base: Run, base_run: BaseRun, metrics: Mapping[str, float], earlier: Mapping[str, Any]
) -> dict[str, Any]:
    """What a model without the requests takes and loses, and how that is known; None if it is not.

    Args:
        earlier: the same of the unlearning that this one goes on from.
    """
    if "retrain_seconds" in metrics:
        after = metrics.get("retrained/test_accuracy", metrics["after/test_accuracy"])
        lost = 100 * (metrics["before/test_accuracy"] - after)
        return {"seconds": metrics["retrain_seconds"], "points_lost": lost, "by": "measured"}
    if earlier.get("by") == "measured":
        return {**earlier, "by": "measured earlier"}
    if base_run.is_trained:
        return {"seconds": base.seconds, "points_lost": None, "by": "the base model's training"}
    seconds = base.metrics.get(SECONDS)
    return {"seconds": seconds, "points_lost": None, "by": "the reference models' training"}


def as_tried(trial: Any, is_kept: bool) -> dict[str, Any]:
    """What a trial of `unlearn` did and came to, as plain values."""
    ends = [str(row.ended) for row in trial.rows]
    return {
        "algorithm": trial.algorithm.name,
        "settings": trial.algorithm.settings(),
        "order": str(trial.order),
        "is_exact": trial.is_exact,
        "is_kept": is_kept,
        "points_lost": trial.points_lost,
        "steps": sum(step.steps for step in trial.taken),
        "seconds": trial.seconds,
        "ended": {ended: ends.count(ended) for ended in sorted({*ends})},
    }
