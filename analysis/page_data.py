"""The data that the report's page carries for its charts and its grid of samples, as JSON."""

from __future__ import annotations

import math
from collections import Counter
from itertools import compress
from typing import Any

from analysis.answers import Answers
from analysis.pictures import Pictures, data_uri
from analysis.rows import Rows, names, nested, said
from analysis.statuses import DAMAGED, looks

# What is predicted, and drawn against what was measured.
TARGETS = {
    "gt": {"title": "GT", "axis": "GT"},
    "prob_lost": {"title": "damage to the test set", "axis": "probability lost"},
    "steps": {"title": "steps", "axis": "steps"},
}
# Columns of attempts that have a GT, of attempts that have none, and of samples.
MEMBERS = (
    *("algorithm", "sample_id", "ending", "steps", "gt", "gt_share", "regime", "f"),
    *("points_lost", "difficulty_rank", "tied", "percentile", "run_id"),
)
OTHERS = ("algorithm", "sample_id", "status", "steps", "run_id")
OVERALL = (
    *("sample_id", "from_hardest", "tied", "mean_percentile", "mean_steps", "mean_points_lost"),
)


def around_run(ui: str, experiment_id: str | None) -> tuple[str, str]:
    """What comes before and after a run's id in the address of its page in the MLflow UI.

    Where the experiment is known, the page opens among those of model training.
    """
    if experiment_id is None:
        return f"{ui}/#/runs/", ""
    return f"{ui}/#/experiments/{experiment_id}/runs/", "?workflowType=machine_learning"


def page_data(answers: Answers, pictures: Pictures, around: tuple[str, str]) -> dict[str, Any]:
    """The data of the page's charts and of its grid.

    Args:
        around: a run's id, in the address that points and samples link to; see `around_run`.
    """
    rows, kept = answers.rows, set(answers.sample_ids)
    is_shown = [row["sample_id"] in kept for row in rows("members")]
    members = list(compress(rows("members"), is_shown))
    others = _of(rows("without_gt"), kept)
    both = (*members, *others)
    label_of = {row["sample_id"]: row["label"] for row in both}
    return {
        "around": around,
        "limit": answers.max_loss,
        "members": _columns(members, MEMBERS),
        "others": _columns(others, OTHERS),
        "overall": _columns(_of(rows("overall"), kept), OVERALL),
        "sizes": Counter(row["algorithm"] for row in rows("members")),
        "paths": {row["sample_id"]: path for row in both if (path := row["sample_path"])},
        "labels": {sample: pictures.name(label) for sample, label in label_of.items()},
        "names": [pictures.name(label) for label in sorted(set(label_of.values()))],
        "classes": [pictures.name(label) for label in names(rows("classes"), "label")],
        "images": {k: data_uri(image) for k, image in pictures.images.items() if k in kept},
        "factors": {row["factor"]: _factor(row, is_shown, members) for row in rows("points")},
        "predicted": _predicted(_of(rows("predicted"), kept)),
        "targets": TARGETS,
        "ladder": _ladder(rows("ladder")),
        "rho": {
            factor: {row["algorithm"]: said(row) for row in found}
            for factor, found in nested(rows("heat_map"), "factor").items()
        },
        "order": [ending.status for ending in looks()],
        "endings": {
            ending.status: {"words": ending.words, "shape": ending.shape} for ending in looks()
        },
        "statuses": _statuses(rows("statuses"), rows("summary")),
    }


def ended_apart(row: dict[str, Any], damaged: int) -> dict[str, int]:
    """How many attempts ended in each way, those that flipped and damaged the network apart.

    Args:
        row: of the report `statuses`. damaged: how many of its flips did damage.
    """
    ended: dict[str, int] = row["ended"]
    flipped = {"flipped": ended["flipped"] - damaged, DAMAGED.status: damaged}
    return {**flipped, **{name: many for name, many in ended.items() if name != "flipped"}}


def _statuses(statuses: Rows, summary: Rows) -> Rows:
    """How many attempts of each algorithm ended in each way."""
    damaged = {row["algorithm"]: row["damaged"] for row in summary}
    return [
        {"algorithm": row["algorithm"], "status": status, "count": count}
        for row in statuses
        for status, count in ended_apart(row, damaged.get(row["algorithm"], 0)).items()
    ]


def _of(rows: Rows, kept: set[int]) -> Rows:
    """The rows of these samples."""
    return [row for row in rows if row["sample_id"] in kept]


def _columns(rows: Rows, columns: tuple[str, ...]) -> dict[str, list[Any]]:
    return {name: [_short(row[name]) for row in rows] for name in columns}


def _predicted(rows: Rows) -> dict[str, list[Any]]:
    """What was predicted and what was measured, by column."""
    both = [name for target in TARGETS for name in (f"predicted_{target}", target)]
    return _columns(rows, ("algorithm", "sample_id", "ending", "run_id", *both))


def _ladder(rows: Rows) -> dict[str, Any]:
    """What is known beforehand, and its cost: a multiple of an attempt's where that is known."""
    unit = "seconds" if any(row["of_attempt"] is None for row in rows) else "of_attempt"
    columns = ("algorithm", "kind", "title", "rho", "strength", "best")
    rungs = [{name: _short(row[name]) for name in columns} for row in rows]
    for rung, row in zip(rungs, rows, strict=True):
        rung["cost"] = _short(row[unit])
    return {"unit": unit, "rungs": rungs}


def _factor(row: dict[str, Any], is_shown: list[bool], members: Rows) -> dict[str, Any]:
    """The values of a factor, one a member; of all algorithms at once where they are the same."""
    values = [_short(value) for value in compress(row["values"], is_shown)]
    samples = [member["sample_id"] for member in members]
    of = dict(zip(samples, values, strict=True))
    is_same = all(of[sample] == value for sample, value in zip(samples, values, strict=True))
    found = {"of": of} if is_same else {"values": values}
    return {"title": row["title"], "unit": row["unit"], **found}


def _short(value: Any) -> Any:
    """A number rounded to six digits, for the charts; None if it is not finite."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
