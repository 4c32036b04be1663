"""The child runs of a sweep as the MLflow UI's table shows them: the hardest first, with their GT.

MLflow keeps a table's columns, filter and order, as its button "Share" does, in a tag of the
experiment, and a link names the tag.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tracker.record.records import AVERAGED, PARENT

if TYPE_CHECKING:
    from tracker.record.store import Store

SHARED = "mlflow.sharedViewState."  # begins the name of the tag
COLUMNS = [
    *(f"metrics.`{AVERAGED[name]}`" for name in ("gt", "steps", "test_accuracy")),
    *("params.`algorithm`", "tags.`label`", "tags.`status`"),
]


def link(experiment_id: str, sweep_id: str) -> str:
    """Where the table is, after the UI's address."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={sweep_id}"


def add(store: Store, experiment_id: str, sweep_id: str) -> None:
    """Give the UI the table of a sweep's child runs, so that nobody who looks at it has to."""
    name, table = _tag(sweep_id)
    if store.client.get_experiment(experiment_id).tags.get(name) != table:
        store.client.set_experiment_tag(experiment_id, name, table)


def _tag(sweep_id: str) -> tuple[str, str]:
    """The name and the value of the experiment's tag."""
    table = {
        "searchFilter": f"tags.`{PARENT}` = '{sweep_id}'",
        "orderByKey": f"metrics.`{AVERAGED['gt']}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": COLUMNS,
    }
    return f"{SHARED}{sweep_id}", json.dumps(table)
