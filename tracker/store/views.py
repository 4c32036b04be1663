"""What the MLflow UI shows: tables of a sweep's child runs, and of what is above these.

MLflow keeps a table's columns, filter and order, as its button "Share" does, in a tag of the
experiment, and a link names the tag. One that has a name is listed under the button "Views"; MLflow
lists few, so only one of ours is named, and the others are left to the user.

MLflow finds runs by a tag at once, but takes minutes to sort many by a metric: of a large sweep the
hardest and the easiest child runs have a tag, and the hardest are shown only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tracker.store.records import AVERAGED, PARENT, POINTS_LOST, READ, Finished, Kind, Run

if TYPE_CHECKING:
    from tracker.store.write import Store

LARGE = 5000  # members from which on a sweep is not sorted by MLflow: it takes seconds for these
COUNT = 100  # members of each algorithm that are tagged at either end
TAG = "indelible.difficulty"  # of a member, with one of the two
HARDEST, EASIEST = "hardest", "easiest"
TAGGED = "indelible.tagged_by_difficulty"  # the tag of a sweep with tagged members, with COUNT

SHARED = "mlflow.sharedViewState."  # begins the name of the tag
OVERVIEW = "sweeps-and-models"  # the key of the table without child runs
TRAINING = "workflowType=machine_learning"  # else MLflow shows its pages for language models
EXPERIMENTS = f"#/experiments?{TRAINING}"  # where all of them are, after the UI's address

# Widths in pixels by column, in the order in which they are shown.
FIRST = {"attributes.`Run Name`": 190, "runDateAndNestInfo": 130}
MEMBERS = {
    f"metrics.`{AVERAGED['gt']}`": 90,
    f"metrics.`{READ['z']}`": 90,
    f"metrics.`{READ['forgotten']}`": 90,
    f"metrics.`{POINTS_LOST}`": 90,
    "params.`algorithm`": 80,
    "tags.`label`": 60,
    "tags.`status`": 90,
    f"metrics.`{AVERAGED['steps']}`": 80,
}
PARENTS = {
    "tags.`kind`": 100,
    "params.`algorithms`": 170,
    "params.`samples`": 70,
    "params.`seed`": 60,
    "metrics.`test_accuracy`": 110,
}


def link(experiment_id: str, key: str) -> str:
    """Where a table is, after the UI's address; key: of a sweep its run id, else OVERVIEW."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={key}&{TRAINING}"


def of_run(experiment_id: str | None, run_id: str) -> str:
    """Where a run is, after the UI's address.

    The short address without an experiment, for where that is not known, forgets what comes after
    the run's id: MLflow then shows the run as it was last used.
    """
    if experiment_id is None:
        return f"#/runs/{run_id}"
    return f"#/experiments/{experiment_id}/runs/{run_id}?{TRAINING}"


def is_large(members: int) -> bool:
    """Whether MLflow would take too long to sort the child runs of a sweep by a metric."""
    return members > LARGE


def tag_members(
    store: Store, sweep_id: str, planned: Mapping[str, Iterable[str]], done: Mapping[str, Finished]
) -> None:
    """Tag those of a large sweep's own child runs that have the lowest and the highest GT.

    Args:
        planned: the keys of members by the names of algorithms.
    """
    if not is_large(_size_of(store.run(sweep_id))):
        return
    tags: dict[str, str] = {}
    for keys in planned.values():
        own = (done[key] for key in keys if key in done and done[key].sweep_id == sweep_id)
        gt = {m.run_id: m.metrics.get(AVERAGED["gt"], math.nan) for m in own}
        ids = sorted((i for i in gt if not math.isnan(gt[i])), key=lambda i: (gt[i], i))
        tags |= dict.fromkeys(ids[-COUNT:], EASIEST) | dict.fromkeys(ids[:COUNT], HARDEST)
    store.retag(sweep_id, TAG, tags)
    store.client.set_tag(sweep_id, TAGGED, str(COUNT))


def _size_of(sweep: Run) -> int:
    """How many members a sweep has planned."""
    params = sweep.params
    return int(params.get("samples", 0)) * len(params.get("algorithms", "").split(","))


CHILDREN = (Kind.MEMBER, Kind.TRIAL, Kind.STEP, Kind.AUDITED)


def add(store: Store, experiment_id: str, sweep_id: str) -> None:
    """Give the UI the table of a sweep's child runs, and that of all that is no child run.

    The hardest come first. Of a large sweep there are only the hardest, once they are known;
    before that all, the latest first.
    """
    experiment = store.client.get_experiment(experiment_id)
    others = " and ".join(f"tags.kind != '{kind}'" for kind in CHILDREN)
    overview = _table(others, "attributes.start_time", PARENTS, ascending=False)
    times = dict.fromkeys(("createdAt", "updatedAt"), experiment.creation_time or 0)
    # Versions of MLflow before there were names read the same keys beside the name.
    named = {**overview, "name": "Sweeps and models", **times, "state": json.dumps(overview)}
    for key, table in {sweep_id: _of_children(store.run(sweep_id)), OVERVIEW: named}.items():
        name, value = f"{SHARED}{key}", json.dumps(table)
        if experiment.tags.get(name) != value:
            store.client.set_experiment_tag(experiment_id, name, value)


def _of_children(sweep: Run) -> dict[str, Any]:
    own, gt = f"tags.`{PARENT}` = '{sweep.run_id}'", f"metrics.`{AVERAGED['gt']}`"
    if not is_large(_size_of(sweep)):
        return _table(own, gt, MEMBERS)
    if TAGGED in sweep.tags:
        return _table(f"{own} and tags.`{TAG}` = '{HARDEST}'", gt, MEMBERS)
    return _table(own, "attributes.start_time", MEMBERS, ascending=False)


def _table(
    condition: str, order: str, columns: Mapping[str, int], ascending: bool = True
) -> dict[str, Any]:
    """What MLflow keeps of a table."""
    return {
        "searchFilter": condition,
        "orderByKey": order,
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": list(columns),
        "columnOrder": [*FIRST, *columns],
        "columnWidths": {**FIRST, **columns},
    }
