"""Is the store whole? What only files can tell, and what can be done about offences."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from indelible.analysis import warehouse
from indelible.analysis.warehouse import Relation
from indelible.tracker import loading
from indelible.tracker.sources import Source

if TYPE_CHECKING:
    from indelible.tracker.store import Store

# A sweep writes artifacts before their runs: while one is running, younger folders are its own.
IN_FLIGHT_S = 600

Rows = list[dict[str, Any]]


def check(source: Source, folder: Path, warehouse_path: Path) -> Relation:
    """Every offence in a store: audit, run_id, name, offence and what repairs it.

    Args:
        folder: the store's, whose `artifacts` are looked through.
    """
    runs = source.runs()
    staging, _ = loading.staging(source, runs, runs["run_id"].to_pylist())
    sums = {
        row["run_id"]: row["value"]
        for row in staging["tags"].to_pylist()
        if row["key"] == "checkpoint"
    }
    states = [state for run in runs.to_pylist() for state in _states(run, sums.get(run["run_id"]))]
    running = any(run["kind"] == "sweep" and run["status"] == "RUNNING" for run in runs.to_pylist())
    orphans = _orphans(folder / "artifacts", source.every_id(), IN_FLIGHT_S if running else 0)
    text = pa.string()
    return warehouse.audit(
        staging,
        {
            "artifacts": _table(states, run_id=text, artifact=text, state=text),
            "folders": _table(orphans, run_id=text, path=text),
            "behind": _table(_behind(warehouse_path, runs), offence=text),
        },
    )


def repair(offences: Iterable[dict[str, Any]], store: Store) -> int:
    """Discard runs that are not whole, and remove orphan folders; how many were discarded."""
    offences = list(offences)
    discarded = {row["run_id"] for row in offences if row["repair"] == "discard"}
    store.discard(discarded)
    for row in offences:
        if row["repair"] == "remove":
            shutil.rmtree(row["name"])
    return len(discarded)


def _table(rows: Rows, **columns: pa.DataType) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema(columns.items()))


def _states(run: dict[str, Any], checkpoint_sha256: str | None) -> Iterator[dict[str, str]]:
    """Whether the artifacts are whole that a run has on this machine."""
    parts = urlsplit(run["artifact_uri"] or "")
    if parts.scheme not in ("", "file"):
        return
    expected = {"base_model": "weights.safetensors", "sweep": "plan.json"}.get(run["kind"])
    if run["kind"] == "member" and checkpoint_sha256:
        expected = "checkpoint.safetensors"
    if expected and run["status"] != "RUNNING":
        path = Path(unquote(parts.path)) / expected
        yield {
            "run_id": run["run_id"],
            "artifact": expected,
            "state": _state(path, checkpoint_sha256),
        }


def _state(path: Path, sha256: str | None) -> str:
    if not path.exists():
        return "missing"
    if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        return "damaged"
    return "whole"


def _orphans(artifacts: Path, known: set[str], age_s: float) -> Rows:
    """Folders of artifacts whose run is in no store, and that have not changed for so long."""
    latest = time.time() - age_s
    return [
        {"run_id": folder.name, "path": str(folder)}
        for folder in sorted(artifacts.glob("*/*"))
        if folder.is_dir() and folder.name not in known and folder.stat().st_mtime < latest
    ]


def _behind(path: Path, runs: pa.Table) -> Rows:
    changes = warehouse.changes(path, runs)
    if changes is None:
        return [{"offence": "there is no warehouse, or one that is out of date"}]
    if not changes:
        return []
    unread, gone = len(changes.read), len(set(changes.forget) - set(changes.read))
    return [{"offence": f"behind the store: {unread} runs to read, {gone} to forget"}]
