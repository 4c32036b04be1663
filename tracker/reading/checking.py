"""The check of a store: what has to be seen in its files, and the repair of offences."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from analysis import warehouse
from analysis.drafts import is_draft
from analysis.warehouse import Relation
from tracker.reading import loading
from tracker.store.files import FOLDER, Damaged
from tracker.store.read import AT_A_TIME, Reader
from tracker.store.records import RUN_ID, Kind
from tracker.store.read import by_run, in_milliseconds
from tracker.studies.predicted import read_predicted
from tracker.studies.request_table import read_rows
from tracker.sweep.plan import load_plan

if TYPE_CHECKING:
    from tracker.store.write import Store

FORGET = "forget "  # begins the repair that lets go of a tag
IN_FLIGHT_S = 600  # younger files may belong to a run that is about to be written

Rows = list[dict[str, Any]]
Tags = Mapping[str, str]


def check(reader: Reader, folder: Path, warehouse_path: Path) -> Relation:
    """Every offence in a store: audit, run_id, name, offence and what repairs it.

    Args:
        folder: the store's, whose `artifacts` are looked through.

    Raises Failure where artifacts cannot be looked for.
    """
    runs = reader.runs()
    staging, _ = loading.staging(reader, runs, runs["run_id"].to_pylist())
    files = _Files(reader)

    def facts() -> dict[str, pa.Table]:
        text = pa.string()
        damaged = files.damaged + _baseless(files.baseless())
        return {
            "artifacts": _table(damaged, run_id=text, offence=text, repair=text),
            "files": _table(files.strays, run_id=text, path=text),
            "folders": _table(_orphans(folder / FOLDER, reader.every_id()), run_id=text, path=text),
            "behind": _table(_behind(warehouse_path, runs), offence=text),
        }

    return warehouse.audit(staging, facts, files.look_at(runs))


@dataclass
class _Files:
    """What is seen in the files of runs.

    Attributes:
        damaged: offences with their repairs. strays: files that no run tells of.
        bases: the SHA-256 of base models' weights. needed: those that checkpoints are differences
            to, with the runs.
    """

    reader: Reader
    damaged: Rows = field(default_factory=list)
    strays: Rows = field(default_factory=list)
    bases: set[str | None] = field(default_factory=set)
    needed: dict[str, list[str]] = field(default_factory=dict)

    def look_at(self, runs: pa.Table) -> Iterator[dict[str, pa.Table]]:
        """Look at the files of runs, some at a time; what is logged of these, for the audit."""
        for start in range(0, runs.num_rows, AT_A_TIME):
            some = in_milliseconds(runs.slice(start, AT_A_TIME))
            rows = self.reader.rows(some["run_id"].to_pylist())
            tags = by_run(rows["tags"])
            for run in some.to_pylist():
                self._look_at(run, tags.get(run["run_id"], {}))
            yield rows

    def _look_at(self, run: dict[str, Any], tags: Tags) -> None:
        run_id, reader = run["run_id"], self.reader
        if run["kind"] == Kind.BASE_MODEL:
            self.bases.add(tags.get("weights_sha256"))
        try:
            self.damaged += [{"run_id": run_id} | lost for lost in _lost_parts(reader, run, tags)]
            if base := _needs(reader, run, tags):
                self.needed.setdefault(base, []).append(run_id)
        except Damaged as damage:
            again = (Kind.MEMBER, Kind.UNLEARNING, Kind.STEP)  # the same command does it again
            repair = "discard" if run["kind"] in again else "none"
            self.damaged.append({"run_id": run_id, "offence": str(damage), "repair": repair})
        self.strays += _strays(reader, run, tags)

    def baseless(self) -> dict[str, list[str]]:
        """The runs whose checkpoints are differences to weights that are not there, by these."""
        return {base: ids for base, ids in self.needed.items() if base not in self.bases}


@dataclass(frozen=True)
class Repair:
    """What is to be done about offences.

    Attributes:
        discard: ids of runs that are deleted. remove: paths that are deleted.
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

    def share(self, reader: Reader, folder: Path) -> float:
        """The share of the store's runs, or of its folders of artifacts, that it takes away."""
        runs, folders = reader.runs().num_rows, len(list((folder / FOLDER).glob("*/*")))
        gone = len(self.discard) + len(self.forget)
        return float(max(gone / max(1, runs), len(self.remove) / max(1, folders)))

    def __and__(self, other: Repair) -> Repair:
        """What is in both."""
        return Repair(
            tuple(run_id for run_id in self.discard if run_id in other.discard),
            tuple(path for path in self.remove if path in other.remove),
            tuple(tag for tag in self.forget if tag in other.forget),
        )

    def do(self, store: Store) -> None:
        """Delete runs in MLflow, which can restore them, and files that belong to no run."""
        store.discard(self.discard)
        for run_id, tag in self.forget:
            store.untag(run_id, tag)
        for path in map(Path, self.remove):
            if not path.is_relative_to(store.address.folder):
                continue  # what is in another's folder stays
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _table(rows: Rows, **columns: pa.DataType) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema(columns.items()))


def _forgets(row: Mapping[str, Any]) -> bool:
    return str(row["repair"]).startswith(FORGET)


def _is_here(reader: Reader, run: Mapping[str, Any]) -> bool:
    """Whether a run's artifacts are on this machine, and nobody is about to write them."""
    return reader.artifacts.path(run["artifact_uri"] or "") is not None and (
        run["status"] != "RUNNING"
    )


def _needs(reader: Reader, run: Mapping[str, Any], tags: Tags) -> str | None:
    """The SHA-256 of the weights that a member's checkpoint is a difference to, if it has one.

    Raises Damaged where any run's artifacts are not what was written.
    """
    from tracker.store.weights import read_checkpoint, read_weights
    from unlearning.checkpoints import ends_of

    uri = run["artifact_uri"] or ""
    if not _is_here(reader, run):
        return None
    if run["kind"] == Kind.SWEEP:
        load_plan(reader.artifacts, uri, run["run_id"], tags.get("key"))
    elif run["kind"] == Kind.BASE_MODEL:
        read_weights(reader.artifacts, uri, tags)
    elif run["kind"] == Kind.PREDICTION:
        read_predicted(reader.artifacts, uri, tags)
    elif run["kind"] in (Kind.MEMBER, Kind.UNLEARNING, Kind.STEP):
        if (run["kind"], run["status"]) == (Kind.UNLEARNING, "FINISHED"):
            read_rows(reader.artifacts, uri, run["run_id"], tags)
        checkpoint = read_checkpoint(reader.artifacts, uri, tags)
        return None if checkpoint is None else ends_of(checkpoint)[0]
    return None


def _baseless(members: Mapping[str, list[str]]) -> Rows:
    """Base models that are not in the store though checkpoints are differences to them."""
    return [
        {
            "run_id": run_ids[0],
            "offence": f"{len(run_ids)} checkpoints need the base model with the weights "
            f"{sha256[:12]}..., which is not in the store: restore its run in MLflow, or train it",
            "repair": "none",
        }
        for sha256, run_ids in members.items()
    ]


def _lost_parts(reader: Reader, run: Mapping[str, Any], tags: Tags) -> Iterator[dict[str, str]]:
    """The parts beside a base model that are not what was written."""
    from tracker.base.parts import ALL

    if run["kind"] != Kind.BASE_MODEL or not _is_here(reader, run):
        return
    for parts in ALL:
        for name in parts.names(tags):
            try:
                parts.read(reader.artifacts, run["artifact_uri"], run["run_id"], name)
            except Damaged as damage:
                yield {"offence": str(damage), "repair": FORGET + parts.tag(name)}


def _strays(reader: Reader, run: dict[str, Any], tags: Tags) -> Rows:
    """Files among a run's artifacts that no tag tells of: another process's, or unfinished ones."""
    from tracker.store.weights import FILES, files_of

    folder = reader.artifacts.path(run["artifact_uri"] or "")
    if folder is None or not folder.is_dir():
        return []
    names = {path.name for path in folder.iterdir() if _is_settled(path)}
    told = files_of(tags)
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
        if RUN_ID.fullmatch(folder.name)
        and folder.is_dir()
        and folder.name not in known
        and _is_settled(folder)
    ]


def _is_settled(path: Path) -> bool:
    """Whether nothing has changed here for so long that no process is still writing."""
    latest = max(each.lstat().st_mtime for each in (path, *path.glob("*")))
    return latest < time.time() - IN_FLIGHT_S


def _behind(path: Path, runs: pa.Table) -> Rows:
    changes = warehouse.changes(path, runs)
    if changes is None and warehouse.is_of_another_version(path):
        return []  # which is no offence
    if changes is None:
        return [{"offence": "there is no warehouse, or one that is out of date"}]
    if not changes:
        return []
    unread, gone = len(changes.read), len(set(changes.forget) - set(changes.read))
    return [{"offence": f"behind the store: {unread} runs to read, {gone} to forget"}]
