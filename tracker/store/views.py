"""Tables of runs as the MLflow UI shows them: a sweep's child runs, and what is above these.

MLflow keeps a table's columns, filter and order, as its button "Share" does, in a tag of the
experiment, and a link names the tag. One that has a name is listed under the button "Views"; MLflow
lists few, so only one of ours is named, and the others are left to the user. Versions before there
were names read the same keys beside the name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracker.store import extremes
from tracker.store.records import AVERAGED, PARENT, Kind

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tracker.store.write import Store

SHARED = "mlflow.sharedViewState."  # begins the name of the tag
OVERVIEW = "sweeps-and-models"  # the key of the table without child runs
TRAINING = "workflowType=machine_learning"  # else MLflow shows its pages for language models
EXPERIMENTS = f"#/experiments?{TRAINING}"  # where all of them are, after the UI's address

# Widths in pixels by column, in the order in which they are shown.
FIRST = {"attributes.`Run Name`": 190, "runDateAndNestInfo": 130}
MEMBERS = {
    f"metrics.`{AVERAGED['gt']}`": 90,
    f"metrics.`{AVERAGED['test_accuracy']}`": 90,
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


def add(store: Store, experiment_id: str, sweep_id: str) -> None:
    """Give the UI the table of a sweep's child runs, so that nobody who looks at it has to.

    The hardest come first. Of a large sweep there are only the hardest, once they are known;
    before that all, the latest first. With it comes the table of all that is no child run.
    """
    experiment = store.client.get_experiment(experiment_id)
    made = {
        sweep_id: _of_children(store.run(sweep_id)),
        OVERVIEW: _named("Sweeps and models", experiment.creation_time or 0, _overview()),
    }
    for key, table in made.items():
        name, value = f"{SHARED}{key}", json.dumps(table)
        if experiment.tags.get(name) != value:
            store.client.set_experiment_tag(experiment_id, name, value)


def _of_children(sweep: Run) -> dict[str, Any]:
    own, gt = f"tags.`{PARENT}` = '{sweep.info.run_id}'", f"metrics.`{AVERAGED['gt']}`"
    if not extremes.is_large(extremes.size_of(sweep)):
        return _table(own, gt, MEMBERS)
    if extremes.TAGGED in sweep.data.tags:
        return _table(f"{own} and tags.`{extremes.TAG}` = '{extremes.HARDEST}'", gt, MEMBERS)
    return _table(own, "attributes.start_time", MEMBERS, ascending=False)


def _overview() -> dict[str, Any]:
    """Everything but child runs, the newest first."""
    others = (Kind.MEMBER, Kind.TRIAL, Kind.STEP)
    condition = " and ".join(f"tags.kind != '{kind}'" for kind in others)
    return _table(condition, "attributes.start_time", PARENTS, ascending=False)


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


def _named(name: str, created_ms: int, table: Mapping[str, Any]) -> dict[str, Any]:
    """A table as MLflow lists it by name, and as versions read it that know no names."""
    times = {"createdAt": created_ms, "updatedAt": created_ms}
    return {**table, "name": name, **times, "state": json.dumps(table)}
