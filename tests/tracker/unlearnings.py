"""Unlearnings and tunings as rows of relations, as a warehouse and as MLflow's client has them.

What the client says is the oracle: run by run, sharing nothing with what fills the warehouse.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from analysis.warehouse import open_warehouse
from tracker.cli import run as call
from tracker.studies.unlearn import _Trial

RELATIONS = ("unlearnings", "unlearning_steps", "unlearning_requests", "trials")

EVIDENCE = [f"{what}_accuracy" for what in ("test", "remaining", "requests")]
EVIDENCE += ["requests_loss", "classes_loss", "called_unseen"]
WHEN = ("before", "after")
ENDS = ("forgotten", "over_forgotten", "misclassified", "remembered", "already_wrong", "never_seen")

STANDING = ("z", "z_error", "z_limit", "z_untouched", "z_retrained")

Values = dict[str, Any]


def indelibly(folder: Path, *words: object) -> int:
    return call(["--store", str(folder), *map(str, words)])


class PowerCut(BaseException):
    """What stops an unlearning."""


def stop_after_a_step(folder: Path, *words: object) -> None:
    """Call a command that stops when it is about to take its second step."""
    real = _Trial._take

    def take(course: Any, round_: int, place: int) -> None:
        if course.taken:
            raise PowerCut
        real(course, round_, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Trial, "_take", take)
        with pytest.raises(PowerCut):
            indelibly(folder, *words)


def unlearn(ids: Iterable[int], out: Path, algorithm: str = "ga") -> tuple[object, ...]:
    samples = [word for sample in ids for word in ("--sample", sample)]
    how = ("--until", "flip", "--max-loss", 100)
    return ("unlearn", "--algorithm", algorithm, *samples, "--output", out, *how)


def relations(path: Path) -> dict[str, list[Values]]:
    """What the warehouse says."""
    with open_warehouse(path) as warehouse:
        return {name: warehouse.query(f"from {name}").records() for name in RELATIONS}


# The oracle: runs as MLflow's client gives them, one by one.


class Client:
    def __init__(self, folder: Path) -> None:
        self.client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        ids = [experiment.experiment_id for experiment in self.client.search_experiments()]
        self.runs = list(self.client.search_runs(ids, max_results=1000))

    def of(self, kind: str) -> list[Run]:
        return [run for run in self.runs if run.data.tags.get("kind") == kind]

    def children(self, kind: str, parent: str) -> list[Run]:
        found = [r for r in self.of(kind) if r.data.tags["mlflow.parentRunId"] == parent]
        return [run for run in found if run.info.status == "FINISHED"]

    def table(self, run: Run) -> list[dict[str, str]]:
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        return list(csv.DictReader(io.StringIO((folder / "requests.csv").read_text("utf-8"))))

    def names(self, run: Run) -> str | None:
        found = self.client.search_model_versions(f"run_id = '{run.info.run_id}'")
        return ", ".join(sorted({version.name for version in found})) or None


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).replace(tzinfo=None)


def seconds(runs: Iterable[Run]) -> float:
    return float(sum(run.info.end_time - run.info.start_time for run in runs)) / 1000


def whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def unlearnings_of(client: Client) -> list[Values]:
    rows = []
    (base,) = client.of("base_model")
    for run in client.of("unlearning"):
        params, tags, said = run.data.params, run.data.tags, run.data.metrics
        kept = json.loads(tags["kept"]) if "kept" in tags else None
        name = kept["algorithm"] if kept else params["algorithm"]
        both = {f"{what}_{when}": said.get(f"{when}/{what}") for what in EVIDENCE for when in WHEN}
        rows.append(
            {
                "unlearning_id": run.info.run_id,
                "unlearning": run.info.run_name,
                "unlearning_status": run.info.status,
                "base_run_id": params["base_run_id"],
                "base_model": base.info.run_name,
                "dataset": params["dataset"],
                "data_fingerprint": tags["data_fingerprint"],
                "arch": params["arch"],
                "algorithm": name,
                "provider": None,
                "settings": {n: str(value) for n, value in kept["settings"].items()}
                if kept
                else {
                    key.removeprefix(f"{name}."): value
                    for key, value in params.items()
                    if key.startswith(f"{name}.")
                },
                "preset": params.get("preset"),
                "engine_version": int(params["engine_version"]),
                "precision": params["precision"],
                "seed": int(params["seed"]),
                "until": params.get("until", "flip"),
                "is_done": said["is_done"] == 1 if "is_done" in said else None,
                "request_order": params["order"],
                "max_rounds": int(params["rounds"]),
                "requests": int(params["samples"]),
                **{end: whole(said.get(end)) for end in ENDS},
                "rounds_taken": whole(said.get("rounds")),
                "total_steps": whole(said.get("steps")),
                "test_points_lost": said.get("points_lost"),
                **both,
                "retrained_test_accuracy": said.get("retrained/test_accuracy"),
                "retrained_requests_accuracy": said.get("retrained/requests_accuracy"),
                "retrain_s": said.get("retrain_seconds"),
                "registered_as": client.names(run),
                "unlearning_started_at": at(run.info.start_time),
                "unlearning_s": seconds(client.children("unlearning_step", run.info.run_id)),
                "experiment_id": run.info.experiment_id,
            }
        )
    return rows


def steps_of(client: Client) -> list[Values]:
    rows = []
    for parent in client.of("unlearning"):
        own = client.children("unlearning_step", parent.info.run_id)
        order = ("trial", "round", "place")
        own.sort(key=lambda run: [int(run.data.params[name]) for name in order])
        for number, run in enumerate(own, start=1):
            params, tags, said = run.data.params, run.data.tags, run.data.metrics
            sample = tags.get("sample_id")
            rows.append(
                {
                    "unlearning_id": parent.info.run_id,
                    "run_id": run.info.run_id,
                    "step_number": number,
                    "trial": int(params["trial"]),
                    "algorithm": params["algorithm"],
                    "round": int(params["round"]),
                    "request_place": int(params["place"]),
                    "step_requests": int(params["samples"]),
                    "sample_id": None if sample is None else int(sample),
                    "step_status": tags["status"],
                    "optimiser_steps": int(said["steps"]),
                    "forget_prob_before": said["forget_prob_before"],
                    "forget_prob_after": said["forget_prob"],
                    "step_test_accuracy": said["test_accuracy"],
                    "step_points_lost": said["points_lost_by_step"],
                    "points_lost_so_far": said["points_lost"],
                    "still_remembered": int(said["remembered"]),
                    "step_started_at": at(run.info.start_time),
                    "step_s": seconds([run]),
                }
            )
    return rows


def requests_of(client: Client) -> list[Values]:
    return [
        {
            "unlearning_id": run.info.run_id,
            "request_place": place,
            "sample_id": int(row["sample_id"]),
            "label": int(row["label"]),
            "sample_path": row["sample_path"],
            "ended": row["ended"],
            "is_wrong_now": row["is_wrong_now"] == "True",
            "request_rounds": int(row["rounds"]),
            "request_steps": int(row["steps"]),
            "request_points_lost": float(row["points_lost"]) if row["points_lost"] else None,
            "final_forget_prob": float(row["forget_prob"]),
            **{n: float(row[n]) if row[n] else None for n in STANDING},
        }
        for run in client.of("unlearning")
        if run.info.status == "FINISHED"
        for place, row in enumerate(client.table(run), start=1)
    ]


def best_of(trials: Iterable[Run]) -> Run:
    """What a tuning is to take, by the words of its manual."""
    most = max(int(run.data.params["samples"]) for run in trials)

    def rank(run: Run) -> tuple[float, ...]:
        flips, lost, prob = (run.data.metrics[n] for n in ("flip_rate", "points_lost", "prob_lost"))
        return (0, 0, lost, prob) if flips >= 0.95 else (1, -flips, lost, prob)

    return min((run for run in trials if int(run.data.params["samples"]) == most), key=rank)


def trials_of(client: Client) -> list[Values]:
    rows = []
    every = client.of("trial")
    for tuning in client.of("tuning"):
        chosen = {}
        for name in tuning.data.params["algorithms"].split(","):
            best = best_of([run for run in every if run.data.params["algorithm"] == name])
            if best.data.metrics["flip_rate"]:
                chosen[name] = best.info.run_id
        for run in every:
            params, said, own = run.data.params, run.data.metrics, run.data.tags
            maker = own["mlflow.parentRunId"]
            if maker != tuning.info.run_id and run.info.run_id not in chosen.values():
                continue
            no_settings = ("algorithm", "samples", "seed", "engine_version", "precision")
            rows.append(
                {
                    "tuning_id": tuning.info.run_id,
                    "tuning": tuning.info.run_name,
                    "trial_id": run.info.run_id,
                    "tried_by": maker,
                    "base_run_id": tuning.data.params["base_run_id"],
                    "dataset": tuning.data.params["dataset"],
                    "arch": tuning.data.params["arch"],
                    "until": tuning.data.params.get("until", "flip"),
                    "algorithm": params["algorithm"],
                    "provider": None,
                    "settings": {n: v for n, v in params.items() if n not in no_settings},
                    "engine_version": int(params["engine_version"]),
                    "precision": params["precision"],
                    "seed": int(params["seed"]),
                    "trial_samples": int(params["samples"]),
                    "flip_rate": said["flip_rate"],
                    "mean_points_lost": said["points_lost"],
                    "mean_prob_lost": said["prob_lost"],
                    "is_chosen": run.info.run_id in chosen.values(),
                    "trial_s": said["seconds"],
                    "tried_at": at(run.info.end_time),
                }
            )
    return rows


def said_by_the_client(folder: Path) -> dict[str, list[Values]]:
    client = Client(folder)
    made = (unlearnings_of, steps_of, requests_of, trials_of)
    return {name: rows(client) for name, rows in zip(RELATIONS, made, strict=True)}


def assert_all_is_said(folder: Path) -> dict[str, list[Values]]:
    """That the warehouse has what the client says: the same rows, and each value of them."""
    found, expected = relations(folder / "analysis.duckdb"), said_by_the_client(folder)
    for name, rows in expected.items():
        assert {len(rows), len(found[name])} == {len(rows)}, name
        for row in rows:
            assert row in found[name], name
            assert [*row] == [*found[name][0]]
    return found
