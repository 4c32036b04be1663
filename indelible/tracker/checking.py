"""Is the store whole? What only files can tell, and what can be done about offences."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from indelible.analysis import warehouse
from indelible.analysis.warehouse import Relation
from indelible.drafts import is_draft
from indelible.tracker import loading
from indelible.tracker.artifacts import FOLDER, Damaged
from indelible.tracker.members import PLAN, read_plan
from indelible.tracker.sources import Source

if TYPE_CHECKING:
    from indelible.tracker.store import Store

TRASH = "trash"  # where what is removed goes, in the store's folder
FORGET = "forget "  # begins the repair that lets go of a tag
IN_FLIGHT_S = 600  # a sweep writes artifacts before their runs: younger ones may be its own

Rows = list[dict[str, Any]]
Tags = Mapping[str, str]


def check(source: Source, folder: Path, warehouse_path: Path) -> Relation:
    """Every offence in a store: audit, run_id, name, offence and what repairs it.

    Args:
        folder: the store's, whose `artifacts` are looked through.

    Raises Failure where artifacts cannot be looked for.
    """
    runs = source.runs()
    ids = runs["run_id"].to_pylist()
    staging, _ = loading.staging(source, runs, ids)
    tags: dict[str, dict[str, str]] = {}
    for row in staging["tags"].to_pylist():
        tags.setdefault(row["run_id"], {})[row["key"]] = row["value"]
    damaged, files = Rows(), Rows()
    for run in runs.to_pylist():
        own = tags.get(run["run_id"], {})
        damaged += [{"run_id": run["run_id"]} | offence for offence in _damaged(source, run, own)]
        files += _strays(source, run, own)
    text = pa.string()
    return warehouse.audit(
        staging,
        {
            "artifacts": _table(damaged, run_id=text, offence=text, repair=text),
            "files": _table(files, run_id=text, path=text),
            "folders": _table(_orphans(folder / FOLDER, source.every_id()), run_id=text, path=text),
            "behind": _table(_behind(warehouse_path, runs), offence=text),
        },
    )


@dataclass(frozen=True)
class Repair:
    """What is to be done about offences.

    Attributes:
        discard: ids of runs that are deleted. remove: paths that are moved away.
        forget: tags of runs that tell of files that are lost.
    """

    discard: tuple[str, ...]
    remove: tuple[str, ...]
    forget: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, offences: Iterable[Mapping[str, Any]]) -> Repair:
        """The repair that the offences ask for."""
        rows = list(offences)
        lost = {(r["run_id"], r["repair"].removeprefix(FORGET)): None for r in rows if _forgets(r)}
        return cls(
            tuple({row["run_id"]: None for row in rows if row["repair"] == "discard"}),
            tuple({row["name"]: None for row in rows if row["repair"] == "remove"}),
            tuple(lost),
        )

    def __bool__(self) -> bool:
        return bool(self.discard or self.remove or self.forget)

    def share(self, source: Source, folder: Path) -> float:
        """How much of the store it takes away: of its runs, or of the folders of artifacts."""
        runs, folders = source.runs().num_rows, len(list((folder / FOLDER).glob("*/*")))
        shares = len(self.discard) / max(1, runs), len(self.remove) / max(1, folders)
        return float(max(shares))

    def do(self, store: Store) -> Path:
        """Delete runs in MLflow, and move files away; where they are now.

        MLflow keeps what is deleted, and what is moved lies in the folder that is named by the
        date: nothing is gone.
        """
        root = store.address.folder
        trash = root / TRASH / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%fZ}"
        paths = [
            store.artifacts.path(store.run(run_id).info.artifact_uri) for run_id in self.discard
        ]
        store.discard(self.discard)
        for run_id, tag in self.forget:
            store.client.delete_tag(run_id, tag)
        for path in (*(path for path in paths if path), *map(Path, self.remove)):
            if path.exists() and path.is_relative_to(root):  # what is in another's folder stays
                target = trash / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
        return trash


def _table(rows: Rows, **columns: pa.DataType) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema(columns.items()))


def _forgets(row: Mapping[str, Any]) -> bool:
    return str(row["repair"]).startswith(FORGET)


def _damaged(source: Source, run: dict[str, Any], tags: Tags) -> Iterator[dict[str, str]]:
    """What is wrong with the artifacts that a run has on this machine, and what repairs it."""
    from indelible.tracker.weights import read_checkpoint, read_weights

    uri, kind = run["artifact_uri"] or "", run["kind"]
    if source.artifacts.path(uri) is None or run["status"] == "RUNNING":
        return
    try:
        if kind == "sweep":
            read_plan(source.artifacts.read(uri, PLAN), run["run_id"], tags.get("key"))
        elif kind == "member":
            read_checkpoint(source.artifacts, uri, tags)
        elif kind == "base_model":
            yield from _lost_parts(source, uri, run["run_id"], tags)
            read_weights(source.artifacts, uri, tags)
    except Damaged as damage:
        yield {"offence": str(damage), "repair": "discard" if kind == "member" else "none"}


def _lost_parts(source: Source, uri: str, run_id: str, tags: Tags) -> Iterator[dict[str, str]]:
    """The parts beside a base model that are not what was written."""
    from indelible.tracker.parts import ALL

    for parts in ALL:
        for name in parts.names(tags):
            try:
                parts.read(source.artifacts, uri, run_id, name)
            except Damaged as damage:
                yield {"offence": str(damage), "repair": FORGET + parts.tag(name)}


def _strays(source: Source, run: dict[str, Any], tags: Tags) -> Rows:
    """Files among a run's artifacts that nobody tells of: what came second, or was not finished."""
    from indelible.tracker.weights import FILES, files_of

    folder = source.artifacts.path(run["artifact_uri"] or "")
    if folder is None or not folder.is_dir():
        return []
    names = {path.name for path in folder.iterdir() if _is_settled(path)}
    told = files_of(tags)
    if not told & names:  # of a version that named all alike
        told |= {f"{kind}.safetensors" for kind in ("checkpoint", "weights")}
    return [
        {"run_id": run["run_id"], "path": str(folder / name)}
        for name in sorted(names)
        if is_draft(name) or (FILES.fullmatch(name) and name not in told)
    ]


def _orphans(artifacts: Path, known: set[str]) -> Rows:
    """Folders of artifacts whose run is in no store."""
    return [
        {"run_id": folder.name, "path": str(folder)}
        for folder in sorted(artifacts.glob("*/*"))
        if folder.is_dir() and folder.name not in known and _is_settled(folder)
    ]


def _is_settled(path: Path) -> bool:
    """Whether nothing has changed here for so long that nobody is about to finish it."""
    latest = max(each.lstat().st_mtime for each in (path, *path.glob("*")))
    return latest < time.time() - IN_FLIGHT_S


def _behind(path: Path, runs: pa.Table) -> Rows:
    changes = warehouse.changes(path, runs)
    if changes is None and warehouse.is_of_another_version(path):
        return []  # what it has is not wrong
    if changes is None:
        return [{"offence": "there is no warehouse, or one that is out of date"}]
    if not changes:
        return []
    unread, gone = len(changes.read), len(set(changes.forget) - set(changes.read))
    return [{"offence": f"behind the store: {unread} runs to read, {gone} to forget"}]
