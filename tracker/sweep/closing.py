"""The end of a sweep: aggregates and description of its members that are in the store."""

from __future__ import annotations

from collections.abc import Mapping

from tracker.store import extremes, views
from tracker.store.records import Finished
from tracker.store.write import Store
from tracker.sweep.summary import aggregates
from tracker.sweep.notes import sweep_note
from tracker.sweep.plan import load_plan
from tracker.sweep.shards import tell


def close(
    store: Store,
    sweep_id: str,
    done: Mapping[str, Finished],
    test_accuracy: float,
    share: str = "",
    ended_ms: int | None = None,
) -> None:
    """Write aggregates and description into a sweep's run, and mark it as finished.

    Args:
        done: its members, by key, and perhaps others. test_accuracy: the base model's.
        share: what was done of it, such as 3/16; empty if all. ended_ms: when; now if None.
    """
    sweep = store.run(sweep_id)
    base = store.run(sweep.data.params["base_run_id"])
    plan = load_plan(store.artifacts, sweep.info.artifact_uri, sweep_id, sweep.data.tags.get("key"))
    planned, experiment_id = plan.planned(), sweep.info.experiment_id
    if {*plan.member_keys()} <= done.keys():
        extremes.tag_members(store, sweep_id, planned, done)
        store.discard_half_written(sweep_id)
    views.add(store, experiment_id, sweep_id)
    outcome = aggregates(planned, done, test_accuracy)
    children = views.link(experiment_id, sweep_id)
    note = sweep_note(sweep, base, test_accuracy, plan, outcome, children, done)
    begins = tell(store, sweep_id, share, plan.member_keys(), done)
    store.close_sweep(sweep_id, outcome, begins + note, ended_ms)
