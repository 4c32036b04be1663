"""MLflow to the warehouse: what changed since the last time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from indelible.analysis import warehouse
from indelible.analysis.warehouse import STAGING, Changes
from indelible.tracker.members import planned_keys
from indelible.tracker.sources import Source


@dataclass(frozen=True)
class Loaded:
    """What a load did: runs that were read or forgotten, and sweeps that have lost their plan."""

    changes: Changes
    without_plan: list[str]


def load(source: Source, path: Path, deep: bool = False) -> Loaded:
    """Bring the warehouse at `path` up to date.

    A run is read again when its name, status or times changed, and forgotten when it was deleted.
    A tag or a metric that was edited by hand in a finished run is seen only if `deep`, which reads
    everything.
    """
    runs = source.runs()
    known = None if deep else warehouse.changes(path, runs)
    changes = Changes(runs["run_id"].to_pylist(), []) if known is None else known
    without_plan: list[str] = []
    if known is None or changes:
        fresh, without_plan = staging(source, runs, changes.read)
        warehouse.rebuild(path, fresh, None if known is None else changes.forget)
    return Loaded(changes, without_plan)


def staging(
    source: Source, runs: pa.Table, run_ids: list[str]
) -> tuple[dict[str, pa.Table], list[str]]:
    """The rows of these runs for every table of the warehouse's staging; sweeps without a plan."""
    wanted = set(run_ids)
    infos = [run for run in runs.to_pylist() if run["run_id"] in wanted]
    sweeps = [run for run in infos if run["kind"] == "sweep"]
    files = {run["run_id"]: source.artifact(run["artifact_uri"], "plan.json") for run in sweeps}
    kept = {run_id: json.loads(content) for run_id, content in files.items() if content}
    tables = {
        "runs": pa.Table.from_pylist(infos, schema=STAGING["runs"]),
        **source.rows(run_ids),
        "plans": _table("plans", [row for item in kept.items() for row in _keys(*item)]),
        "catalogs": _table("catalogs", [row for item in kept.items() for row in _catalog(*item)]),
    }
    return tables, [run["run_id"] for run in sweeps if run["run_id"] not in kept]


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=STAGING[name])


def _keys(sweep_id: str, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"run_id": sweep_id, "key": key} for key in planned_keys(plan)]


def _catalog(sweep_id: str, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"run_id": sweep_id, "position": position, **column}
        for position, column in enumerate(plan["factors"])
    ]
