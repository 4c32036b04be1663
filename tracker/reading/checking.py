"""The check of a store: what has to be seen in its files, and the repair of problems."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from analysis import warehouse
from analysis.atomic import is_draft
from analysis.warehouse import Relation
from tracker.reading import loading
from tracker.store import weights
from tracker.store.files import FOLDER, Damaged
from tracker.store.read import AT_A_TIME, Reader, as_known
from tracker.store.records import RUN_ID, Kind, Known
from unlearning.checkpoints import ends_of

if TYPE_CHECKING:
    from tracker.store.write import Store

FORGET = "forget "  # begins the repair that lets go of a tag
IN_FLIGHT_S = 600  # younger files may belong to a run that is about to be written
AGAIN = (Kind.MEMBER, Kind.UNLEARNING, Kind.STEP)  # the same command does these again

Rows = list[dict[str, Any]]


def check(reader: Reader, folder: Path) -> Relation:
    """Every problem in a store: audit, run_id, name, problem and what repairs it.

    Args:
        folder: the store's, whose `artifacts` are looked through.

    Raises Failure where artifacts cannot be looked for.
    """
    runs = reader.runs()
    staging, _ = loading.staging(reader, runs, runs["run_id"].to_pylist())
    files = _Files(reader)

    def facts() -> dict[str, pa.Table]:
        damaged, paths = (*files.damaged, *files.baseless()), ("run_id", "path")
        return {
            "artifacts": _table(damaged, "run_id", "problem", "repair"),
            "files": _table(files.strays, *paths),
            "folders": _table(_orphans(folder / FOLDER, reader.every_id()), *paths),
        }

    return warehouse.audit(staging, facts, files.look_at(runs))


@dataclass
class _Files:
    """What is seen in the files of runs.

    Attributes:
        damaged: problems with their repairs. strays: files that no run tells of.
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
            some = runs.slice(start, AT_A_TIME)
            rows = self.reader.rows(some["run_id"].to_pylist())
            for run in as_known(some, rows):
                if run.kind == Kind.BASE_MODEL:
                    self.bases.add(run.tags.get("weights_sha256"))
                # Others are on another machine, or somebody is about to write them.
                folder = self.reader.artifacts.path(run.artifact_uri)
                if folder is not None and run.status != "RUNNING":
                    self._read(run)
                if folder is not None and folder.is_dir():
                    self._look_for_strays(run, folder)
            yield rows

    def _read(self, run: Known) -> None:
        from tracker.reading.run_files import files_of  # which takes MLflow's seconds

        for file in files_of(self.reader.artifacts, run):
            try:
                content = file.read()
            except Damaged as damage:
                repair = "discard" if run.kind in AGAIN else "none"
                repair = FORGET + file.tag if file.tag else repair
                row = {"run_id": run.run_id, "problem": str(damage), "repair": repair}
                self.damaged.append(row)
            else:
                if run.kind in AGAIN and file.name.startswith("checkpoint-"):
                    self.needed.setdefault(ends_of(content)[0], []).append(run.run_id)

    def _look_for_strays(self, run: Known, folder: Path) -> None:
        """Find files that no tag tells of: another process's, or unfinished ones."""
        told = weights.files_of(run.tags)
        self.strays += [
            {"run_id": run.run_id, "path": str(path)}
            for path in sorted(folder.iterdir())
            if is_draft(path.name) or (weights.FILES.fullmatch(path.name) and path.name not in told)
            if _is_settled(path)
        ]

    def baseless(self) -> Rows:
        """Base models that are not in the store though checkpoints are differences to them."""
        return [
            {
                "run_id": run_ids[0],
                "problem": f"{len(run_ids)} checkpoints need the base model with the weights "
                f"{sha256[:12]}..., which is not in the store: restore its run in MLflow, or train "
                "it",
                "repair": "none",
            }
            for sha256, run_ids in self.needed.items()
            if sha256 not in self.bases
        ]


@dataclass(frozen=True)
class Repair:
    """What is to be done about problems.

    Attributes:
        discard: ids of runs that are deleted. remove: paths that are deleted.
        forget: tags of runs that tell of files that are lost.
    """

    discard: tuple[str, ...]
    remove: tuple[str, ...]
    forget: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, problems: Iterable[Mapping[str, Any]]) -> Repair:
        """The repair that the problems ask for."""
        discard, remove = dict[str, None](), dict[str, None]()
        forget = dict[tuple[str, str], None]()
        for row in problems:
            if row["repair"] == "discard":
                discard[row["run_id"]] = None
            elif row["repair"] == "remove":
                remove[row["name"]] = None
            elif str(row["repair"]).startswith(FORGET):
                forget[row["run_id"], row["repair"].removeprefix(FORGET)] = None
        return cls(tuple(discard), tuple(remove), tuple(forget))

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


def _table(rows: Iterable[dict[str, Any]], *columns: str) -> pa.Table:
    return pa.Table.from_pylist(list(rows), pa.schema([(name, pa.string()) for name in columns]))


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
