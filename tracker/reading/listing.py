"""The base models and sweeps in a store, as rows to print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tracker.store.read import Reader
from tracker.store.records import RUN_ID, Kind, Run
from tracker.sweep.plan import STUDY
from unlearning import naming
from unlearning.errors import UserError
from unlearning.outcome import UNTIL_REFERENCE, Status

# What `sweeps` tells of the attempts of each.
CAME_TO = (
    *("attempts", "flipped", "damaged", "mean_points_lost", "worst_points_lost"),
    *("at_reference", "forgotten"),
)


def models(reader: Reader) -> list[dict[str, Any]]:
    """The finished base models, newest first."""
    return [
        _row(run, ("dataset", "arch", "seed", "epochs", "optimizer", "lr"))
        | {name: run.metrics.get(name) for name in ("train_accuracy", "test_accuracy")}
        for run in reader.of_kind(Kind.BASE_MODEL)
        if run.status == "FINISHED"
    ]


def sweeps(reader: Reader) -> list[dict[str, Any]]:
    """All sweeps, newest first, finished or not."""
    return [
        _row(run, ("dataset", "arch", "algorithms", "samples", "seed", "base_run_id"))
        | {
            "engine_version": run.params.get("engine_version", "1"),
            "precision": run.params.get("precision", "float32"),
            "until": run.params.get("until", "flip"),
            "study": run.tags.get(STUDY),
            "status": run.status,
            **_came_to(run.metrics, run.params.get("algorithms", "").split(",")),
        }
        for run in reader.of_kind(Kind.SWEEP)
    ]


def _came_to(metrics: Mapping[str, float], algorithms: Sequence[str]) -> dict[str, Any]:
    """What the attempts of a sweep came to, all algorithms together; None where it says nothing.

    A sweep says something from its first end on: one that was stopped may have many attempts.

    Args:
        metrics: of its run.
    """
    if not any(f"{name}/{status}" in metrics for name in algorithms for status in Status):
        return dict.fromkeys(CAME_TO)

    def each(what: str) -> dict[str, float]:
        return {n: metrics[f"{n}/{what}"] for n in algorithms if f"{n}/{what}" in metrics}

    counts = {status: each(status) for status in Status if status != Status.ALREADY_WRONG}
    tried = {name: sum(of.get(name, 0) for of in counts.values()) for name in algorithms}
    lost = each("mean_points_lost")
    total = sum(tried[name] for name in lost)
    there = sum(sum(each(end).values()) for end in UNTIL_REFERENCE)
    judged, rates = each("verdicts"), each("forgotten_rate")
    return {
        "attempts": int(sum(tried.values())),
        "flipped": int(sum(counts[Status.FLIPPED].values())),
        "damaged": int(sum(each("damaged").values())) if lost else None,
        "mean_points_lost": sum(m * tried[n] for n, m in lost.items()) / total if total else None,
        "worst_points_lost": max(each("worst_points_lost").values(), default=None),
        "at_reference": int(there) or None,
        "forgotten": sum(many * rates[n] for n, many in judged.items()) / sum(judged.values())
        if judged
        else None,
    }


def find_sweep(reader: Reader, reference: str) -> Run:
    """The sweep, as `unlearning.naming` finds it. Raises UserError where there is none."""
    runs = {run.run_id: run for run in reader.of_kind(Kind.SWEEP)}
    return runs[sweep_of(reference, [(run.run_id, run.name, run.tags) for run in runs.values()])]


def member_of(reader: Reader, reference: str) -> str:
    """The id of the child run that is meant, by its id or the beginning of it, or its name.

    Unlearnings are found too. Raises UserError where none or several are; a whole id is not looked
    for.
    """
    if RUN_ID.fullmatch(reference):
        return reference
    runs = reader.runs().select(["run_id", "name", "kind"]).to_pylist()
    kinds = (Kind.MEMBER, Kind.UNLEARNING)
    members = [(run["run_id"], run["name"]) for run in runs if run["kind"] in kinds]
    return naming.find(reference, members, "child run", "'indelible sample' lists a sample's")


def sweep_of(reference: str, sweeps: Iterable[tuple[str, str, Mapping[str, str]]]) -> str:
    """The id of the sweep that is meant, of those in a store; the latest is no study's.

    Args:
        sweeps: id, name and tags of each, the newest first.

    Raises UserError where there is none.
    """
    is_any = reference != naming.LATEST
    named = [(run_id, name) for run_id, name, tags in sweeps if is_any or STUDY not in tags]
    if not named:
        raise UserError("there is no sweep in this store yet: run 'indelible sweep' first")
    return naming.find(reference, named, "sweep", "'indelible sweeps' lists them")


def _row(run: Run, params: tuple[str, ...]) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        **{name: run.params.get(name) for name in params},
        "started": datetime.fromtimestamp(run.started_ms / 1000).astimezone(),
    }
