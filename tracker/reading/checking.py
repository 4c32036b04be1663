"""The check of a store: which files each run has, whether they are what was written, and repair."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from analysis import warehouse
from analysis.atomic import is_draft
from analysis.warehouse import Relation
from tracker.base import parts
from tracker.reading import loading
from tracker.store import weights
from tracker.store.files import FOLDER, Artifacts, Damaged
from tracker.store.read import AT_A_TIME, Reader, as_runs
from tracker.store.records import RUN_ID, Kind, Run
from tracker.store.weights import file_name, read_checkpoint, weights_and_file
from tracker.studies import RECORD, REQUESTS, SAMPLES, audited, predicted
from tracker.studies import request_table as asked
from tracker.sweep.plan import PLAN, read_plan

if TYPE_CHECKING:
    from tracker.store.write import Store

DISCARD, REMOVE, FORGET = "discard", "remove", "forget "  # a run, a path; a tag, which follows
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
    damaged, strays = list[dict[str, str]](), list[dict[str, str]]()

    def blocks() -> Iterator[dict[str, pa.Table]]:
        """What is logged of some runs at a time, whose files are looked at."""
        for start in range(0, runs.num_rows, AT_A_TIME):
            some = runs.slice(start, AT_A_TIME)
            rows = reader.rows(some["run_id"].to_pylist())
            for run in as_runs(some, rows):
                # Others are on another machine, or somebody is about to write them.
                place = reader.artifacts.path(run.artifact_uri)
                if place is not None and run.status != "RUNNING":
                    damaged.extend(_damaged(reader, run))
                if place is not None and place.is_dir():
                    strays.extend({"run_id": run.run_id, "path": p} for p in _strays(run, place))
            yield rows

    def facts() -> dict[str, pa.Table]:
        known = reader.every_id()
        orphans = [
            {"run_id": path.name, "path": str(path)}
            for path in sorted((folder / FOLDER).glob("*/*"))
            if RUN_ID.fullmatch(path.name) and path.is_dir() and path.name not in known
            if _is_settled(path)
        ]
        return {
            "artifacts": _table(damaged, "run_id", "problem", "repair"),
            "files": _table(strays, "run_id", "path"),
            "folders": _table(orphans, "run_id", "path"),
        }

    return warehouse.audit(staging, facts, blocks())


def _damaged(reader: Reader, run: Run) -> Iterator[dict[str, str]]:
    """A row for each file of a run that is not what was written."""
    for file in files_of(reader.artifacts, run):
        try:
            file.read()
        except Damaged as damage:
            repair = DISCARD if run.kind in AGAIN else "none"
            repair = FORGET + file.tag if file.tag else repair
            yield {"run_id": run.run_id, "problem": str(damage), "repair": repair}


def _strays(run: Run, folder: Path) -> list[str]:
    """Files that no tag tells of: another process's, or unfinished ones."""
    told = weights.files_of(run.tags)
    return [
        str(path)
        for path in sorted(folder.iterdir())
        if is_draft(path.name) or (weights.FILES.fullmatch(path.name) and path.name not in told)
        if _is_settled(path)
    ]


def _table(rows: Rows, *columns: str) -> pa.Table:
    return pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in columns]))


def _is_settled(path: Path) -> bool:
    """Whether nothing has changed here for so long that no process is still writing."""
    latest = max(each.lstat().st_mtime for each in (path, *path.glob("*")))
    return latest < time.time() - IN_FLIGHT_S


def repairable(problems: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The problems that can be repaired, one for each run, tag or path."""
    found = {
        (row["repair"], row["name" if row["repair"] == REMOVE else "run_id"]): row
        for row in problems
        if row["repair"] != "none"
    }
    return [*found.values()]


def share(problems: Iterable[Mapping[str, Any]], reader: Reader, folder: Path) -> float:
    """The share of the store's runs, or of its folders of artifacts, that their repair takes."""
    paths = [row["repair"] == REMOVE for row in problems]
    folders, runs = len([*(folder / FOLDER).glob("*/*")]), reader.runs().num_rows
    return float(max(sum(paths) / max(1, folders), (len(paths) - sum(paths)) / max(1, runs)))


def repair(store: Store, problems: Iterable[Mapping[str, Any]]) -> None:
    """Delete runs in MLflow, which can restore them, and files that belong to no run."""
    for row in problems:
        path = Path(row["name"])
        if row["repair"] == DISCARD:
            store.discard([row["run_id"]])
        elif row["repair"].startswith(FORGET):
            store.untag(row["run_id"], row["repair"].removeprefix(FORGET))
        elif not path.is_relative_to(store.address.folder):
            continue  # what is in another's folder stays
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class RunFile(NamedTuple):
    """A file of a run.

    Attributes:
        read: its content. Raises Damaged if that is lost, or is not what was written.
        tag: that tells of it, where the run is whole without it.
    """

    name: str
    read: Callable[[], bytes]
    tag: str = ""


def files_of(artifacts: Artifacts, run: Run) -> Iterator[RunFile]:
    """The files of a run."""
    uri, run_id, tags = run.artifact_uri, run.run_id, run.tags

    def there(name: str) -> bytes:
        content = artifacts.read(uri, name)
        if content is None:
            raise Damaged(f"{name} is missing")
        return content

    def plan() -> bytes:
        read_plan(content := artifacts.read(uri, PLAN), run_id, tags.get("key"))
        return content or b""

    def table() -> bytes:
        asked.read_rows(artifacts, uri, run_id, tags)
        return there(asked.TABLE)

    if run.kind == Kind.BASE_MODEL:
        name = file_name("weights", tags.get("weights_sha256", ""))
        yield RunFile(name, lambda: weights_and_file(artifacts, uri, tags)[1])
        for kind in parts.ALL:
            for part in kind.names(tags):
                content = partial(kind.content, artifacts, uri, run_id, part)
                yield RunFile(kind.file(part), content, kind.tag(part))
    elif run.kind == Kind.PREDICTION:
        name = predicted.file_name(tags.get(predicted.TAG, ""))
        yield RunFile(name, partial(predicted.predicted_file, artifacts, uri, tags))
    elif run.kind == Kind.SWEEP:
        yield RunFile(PLAN, plan)
    elif run.kind == Kind.TUNING:
        yield RunFile(SAMPLES, partial(there, SAMPLES))
    elif run.kind == Kind.AUDIT and run.status == "FINISHED":
        name = audited.file_name(tags.get(audited.TAG, ""))
        yield RunFile(name, partial(audited.audited_file, artifacts, uri, tags))
    elif run.kind == Kind.UNLEARNING:
        yield RunFile(REQUESTS, partial(there, REQUESTS))
        if run.status == "FINISHED":
            yield RunFile(asked.TABLE, table)
            yield RunFile(RECORD, partial(there, RECORD))
    if "checkpoint" in tags:
        name = file_name("checkpoint", tags["checkpoint"])
        yield RunFile(name, lambda: read_checkpoint(artifacts, uri, tags) or b"")


def contents(artifacts: Artifacts, run: Run) -> dict[str, bytes]:
    """The files of a run, by name. Raises Damaged."""
    return {file.name: file.read() for file in files_of(artifacts, run)}
