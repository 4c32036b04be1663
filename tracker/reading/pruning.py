"""Deleting checkpoints that no sweep wants any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tracker.store.read import Reader
from tracker.store.records import Finished, Kind, Run
from tracker.store.weights import file_name
from tracker.sweep.plan import load_plan
from tracker.sweep.retention import KEEPS, Retention, policies_of, wanted

if TYPE_CHECKING:
    from tracker.store.write import Store


def unwanted(reader: Reader, changed: Mapping[str, Retention]) -> list[dict[str, Any]]:
    """The checkpoints that no sweep wants: run_id, name, and bytes, None if not known here.

    Args:
        changed: what sweeps, by id, are to want from now on.

    Raises Damaged where the plan of a sweep is, so that it is not known what it wants.
    """
    members = {
        run.tags["key"]: run
        for run in reader.of_kind(Kind.MEMBER)
        if run.status == "FINISHED" and "key" in run.tags
    }
    done = {key: Finished.told(run.run_id, run.tags, run.metrics) for key, run in members.items()}
    kept = set[str]()
    for sweep in reader.of_kind(Kind.SWEEP):
        key, policy = sweep.tags.get("key"), changed.get(sweep.run_id)
        plan = load_plan(reader.artifacts, sweep.artifact_uri, sweep.run_id, key)
        kept |= wanted(plan.planned(), [policy] if policy else policies_of(sweep.tags), done)
    return [
        {"run_id": run.run_id, "name": run.name, "bytes": _size(reader, run)}
        for key, run in sorted(members.items())
        if key not in kept and "checkpoint" in run.tags
    ]


def prune(
    store: Store, reader: Reader, run_ids: Iterable[str], changed: Mapping[str, Retention]
) -> None:
    """Note what sweeps want from now on, and delete the checkpoints of these child runs."""
    for sweep_id, policy in changed.items():
        store.client.set_tag(sweep_id, *policy.tag)
        for tag in reader.run(sweep_id).tags:
            if tag.startswith(KEEPS) and tag != policy.tag[0]:
                store.untag(sweep_id, tag)
    for run_id in run_ids:
        store.drop_checkpoint(run_id)


def _size(reader: Reader, run: Run) -> int | None:
    folder = reader.artifacts.path(run.artifact_uri)
    if folder is None:
        return None
    with suppress(FileNotFoundError):  # another process let go of it
        return (folder / file_name("checkpoint", run.tags["checkpoint"])).stat().st_size
    return 0
