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


@pytest.fixture(autouse=True)
def large_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "LARGE", 2 * SAMPLES - 1)
    monkeypatch.setattr(views, "COUNT", ENDS)


def shown(store: Store, sweep_id: str) -> tuple[str, str]:
    """What the table that links open is filtered by, and sorted by."""
    experiment_id = store.run(sweep_id).info.experiment_id
    tags = store.client.get_experiment(experiment_id).tags
    table = json.loads(tags[f"mlflow.sharedViewState.{sweep_id}"])
    return table[
        "searchFilter"
    ], f"{table['orderByKey']} {'ASC' if table['orderByAsc'] else 'DESC'}"


def listed(client: MlflowClient, store: Store, sweep_id: str) -> list[tuple[str, str]]:
    """Algorithms and samples that MLflow itself shows for that table, in order."""
    where, order = shown(store, sweep_id)
    experiment_id = store.run(sweep_id).info.experiment_id
    runs = client.search_runs([experiment_id], where, order_by=[order])
    return [(run.data.params["algorithm"], run.data.tags["sample_id"]) for run in runs]


def by_hand(client: MlflowClient, store: Store, sweep_id: str, hardest: bool) -> set[str]:
    """The run ids of each algorithm's hardest or easiest, from all metrics."""
    experiment_id = store.run(sweep_id).info.experiment_id
    runs = client.search_runs([experiment_id], f"tags.`{PARENT}` = '{sweep_id}'")
    found = set()
    for algorithm in ("ga", "neggrad"):
        own = [
            (run.data.metrics["gt"], run.info.run_id)
            for run in runs
            if "gt" in run.data.metrics and run.data.params["algorithm"] == algorithm
        ]
        found |= {run_id for _, run_id in sorted(own, reverse=not hardest)[:ENDS]}
    return found


def test_the_ends_of_a_large_sweep_are_tagged(
    trained: Path, tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_copy(trained, tmp_path)
    seen, tag = list[tuple[str, str]](), views.tag_members

    def tagging(store: Store, sweep_id: str, *given: Any) -> None:
        seen.append(shown(store, sweep_id))
        tag(store, sweep_id, *given)

    monkeypatch.setattr(views, "tag_members", tagging)
    sweep_id = indelible(tmp_path, *SWEEP, "--samples", SAMPLES).id
    # While it runs the latest are shown.
    assert seen == [(f"tags.`{PARENT}` = '{sweep_id}'", "attributes.start_time DESC")]
    store = opened(SqlStore, tmp_path)
    client = MlflowClient(store.address.uri)
    experiment_id = store.run(sweep_id).info.experiment_id
    for end in ("hardest", "easiest"):
        found = client.search_runs([experiment_id], f"tags.`indelible.difficulty` = '{end}'")
        assert {run.info.run_id for run in found} == by_hand(
            client, store, sweep_id, end == "hardest"
        )
    first = listed(client, store, sweep_id)
    assert len(first) == 2 * ENDS
    members = client.search_runs([experiment_id], "tags.kind = 'member'")
    gt = {
        (run.data.params["algorithm"], run.data.tags["sample_id"]): run.data.metrics.get("gt", 9.0)
        for run in members
    }
    assert first == sorted(first, key=gt.__getitem__)
    assert "hardest child runs of each algorithm" in store.run(sweep_id).data.tags[NOTE]

    # Tags that are out of date are taken away, and no other sweep's.
    stale = min(by_hand(client, store, sweep_id, hardest=False))
    client.set_tag(stale, "indelible.difficulty", "hardest")
    (outside,) = {
        r.info.run_id for r in client.search_runs([experiment_id], "tags.kind = 'base_model'")
    }
    client.set_tag(outside, "indelible.difficulty", "hardest")
    store.retag(sweep_id, "indelible.difficulty", {stale: "easiest"})
    found = client.search_runs([experiment_id], "tags.`indelible.difficulty` LIKE '%'")
    assert {r.info.run_id: r.data.tags["indelible.difficulty"] for r in found} == {
        stale: "easiest",
        outside: "hardest",
    }


def test_a_small_sweep_is_sorted_as_a_whole(
    trained: Path, tmp_path: Path, indelible: Indelible
) -> None:
    own_copy(trained, tmp_path)
    sweep_id = indelible(tmp_path, *SWEEP, "--samples", SAMPLES - 1).id
    store = opened(SqlStore, tmp_path)
    assert shown(store, sweep_id) == (f"tags.`{PARENT}` = '{sweep_id}'", "metrics.`gt` ASC")
    members = store.runs([store.run(sweep_id).info.experiment_id], "tags.kind = 'member'")
    assert not any("indelible.difficulty" in run.data.tags for run in members)
