"""Of a large sweep MLflow is asked only for the hardest child runs, which are tagged at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.tracker.conftest import Indelible, opened, own_copy
from tracker.store import views
from tracker.store.bulk import SqlStore
from tracker.store.records import NOTE, PARENT
from tracker.store.write import Store

SWEEP = ("sweep", "--algorithm", "ga", "--algorithm", "neggrad", "--execution", "stacked")
SAMPLES = 7
ENDS = 2
TAG = "indelible.difficulty"


def shown(store: Store, sweep_id: str) -> tuple[str, str]:
    """What the table that links open is filtered by, and sorted by."""
    experiment_id = store.run(sweep_id).experiment_id
    tags = store.client.get_experiment(experiment_id).tags
    table = json.loads(tags[f"mlflow.sharedViewState.{sweep_id}"])
    order = "ASC" if table["orderByAsc"] else "DESC"
    return table["searchFilter"], f"{table['orderByKey']} {order}"


def test_the_ends_of_a_large_sweep_are_tagged(
    trained: Path, tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "LARGE", 2 * SAMPLES - 1)
    monkeypatch.setattr(views, "COUNT", ENDS)
    own_copy(trained, tmp_path)
    store = opened(SqlStore, tmp_path)
    client = MlflowClient(store.address.uri)
    # A small one is sorted as a whole.
    small = indelible(tmp_path, *SWEEP, "--samples", 2).id
    experiments = [store.run(small).experiment_id]
    assert shown(store, small) == (f"tags.`{PARENT}` = '{small}'", "metrics.`gt` ASC")
    assert not client.search_runs(experiments, f"tags.`{TAG}` LIKE '%'")

    seen, tag = list[tuple[str, str]](), views.tag_members

    def tagging(store: Store, sweep_id: str, *given: Any) -> None:
        seen.append(shown(store, sweep_id))
        tag(store, sweep_id, *given)

    monkeypatch.setattr(views, "tag_members", tagging)
    sweep_id = indelible(tmp_path, *SWEEP, "--samples", SAMPLES, "--seed", 1).id
    # While it runs the latest are shown.
    own = f"tags.`{PARENT}` = '{sweep_id}'"
    assert seen == [(own, "attributes.start_time DESC")]
    gt = {
        (run.data.params["algorithm"], run.data.metrics["gt"], run.info.run_id)
        for run in client.search_runs(experiments, own)
        if "gt" in run.data.metrics
    }
    by_gt = [sorted(each for each in gt if each[0] == name) for name in ("ga", "neggrad")]
    ends = {
        "hardest": {run_id for each in by_gt for _, _, run_id in each[:ENDS]},
        "easiest": {run_id for each in by_gt for _, _, run_id in each[-ENDS:]},
    }
    for end, run_ids in ends.items():
        found = client.search_runs(experiments, f"tags.`{TAG}` = '{end}'")
        assert {run.info.run_id for run in found} == run_ids
    where, order = shown(store, sweep_id)
    listed = client.search_runs(experiments, where, order_by=[order])
    assert {run.info.run_id for run in listed} == ends["hardest"]
    assert [run.data.metrics["gt"] for run in listed] == sorted(
        run.data.metrics["gt"] for run in listed
    )
    assert "hardest child runs of each algorithm" in store.run(sweep_id).tags[NOTE]

    # Tags that are out of date are taken away.
    stale = min(ends["easiest"])
    store.retag(sweep_id, TAG, {stale: "easiest"})
    found = client.search_runs(experiments, f"tags.`{TAG}` LIKE '%'")
    assert [run.info.run_id for run in found] == [stale]
