"""From MLflow into the warehouse: what changed since the last time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load as load_tensors

from analysis import warehouse
from analysis.warehouse import STAGING, Changes
from tracker.base import parts
from tracker.store.files import Artifacts, Damaged
from tracker.store.read import AT_A_TIME, ROWS, Reader, as_runs
from tracker.store.records import HISTORIES, Kind, Run, in_blocks
from tracker.studies.audited import read_audited
from tracker.studies.predicted import read_predicted
from tracker.studies.request_table import read_rows
from tracker.sweep.plan import PLAN, read_plan

LOGGED = ("runs", *ROWS, "histories")  # of STAGING; the others come from the files of runs


@dataclass(frozen=True)
class Loaded:
    """What a load did: runs that were read or forgotten, and what is wrong with runs' files."""

    changes: Changes
    lost: Mapping[str, str]


def load(reader: Reader, path: Path, deep: bool = False, store: str | None = None) -> Loaded:
    """Bring the warehouse at `path` up to date.

    A run is read again when its name, status or times changed, and forgotten when it was deleted.
    A tag or a metric that was edited by hand in a finished run is seen only if `deep`, which reads
    everything.

    Args:
        store: the store's id, if it has one.

    Raises Failure, and changes nothing, where the store cannot be read.
    """
    runs = reader.runs()
    known = None if deep else warehouse.changes(path, runs, store)
    changes = Changes(runs["run_id"].to_pylist(), []) if known is None else known
    lost: dict[str, str] = {}
    if known is None or changes:
        fresh, lost = staging(reader, runs, changes.read)
        is_member = pc.equal(pc.fill_null(fresh["runs"]["kind"], ""), str(Kind.MEMBER))
        members = set(fresh["runs"].filter(is_member)["run_id"].to_pylist())
        more = (
            logged(reader, some, members)
            for some in in_blocks(fresh["runs"]["run_id"].to_pylist(), AT_A_TIME)
        )
        forget = None if known is None else changes.forget
        warehouse.rebuild(path, fresh, forget, store, more)
    return Loaded(changes, lost)


def staging(
    reader: Reader, runs: pa.Table, run_ids: list[str]
) -> tuple[dict[str, pa.Table], dict[str, str]]:
    """The rows of these runs for the warehouse's staging, but what is logged of them; what is wrong
    with files.

    Raises Failure if a file cannot be looked for.
    """
    wanted = runs.filter(pc.is_in(runs["run_id"], value_set=pa.array(run_ids, pa.string())))
    above = wanted.filter(pc.not_equal(pc.fill_null(wanted["kind"], ""), Kind.MEMBER))
    tables = {n: [schema.empty_table()] for n, schema in STAGING.items() if n not in LOGGED}
    lost: dict[str, str] = {}
    for run in as_runs(above, reader.rows(above["run_id"].to_pylist())):
        try:
            for name, rows in _from_files(reader.artifacts, run):
                tables[name].append(rows)
        except Damaged as damage:
            of = f"of prediction {run.run_id}, " if run.kind == Kind.PREDICTION else ""
            lost[run.run_id] = f"{of}{damage}"
    columns = wanted.select(STAGING["runs"].names).cast(STAGING["runs"])
    joined = {name: pa.concat_tables(parts) for name, parts in tables.items()}
    return {"runs": columns, **joined}, lost


def logged(reader: Reader, run_ids: list[str], members: Collection[str]) -> dict[str, pa.Table]:
    """What is logged of runs, for the warehouse's staging; of members the histories too."""
    rows = reader.rows(run_ids)
    tags = rows["tags"]
    without = set(tags.filter(pc.equal(tags["key"], HISTORIES))["run_id"].to_pylist())
    kept = [run_id for run_id in run_ids if run_id in members and run_id not in without]
    return {**rows, "histories": reader.histories(kept)}


def _from_files(artifacts: Artifacts, run: Run) -> Iterator[tuple[str, pa.Table]]:
    """Rows, by table of STAGING, of what the files of a run hold.

    Raises Damaged where a file is lost, or is not what was written.
    """
    run_id, uri = run.run_id, run.artifact_uri
    if run.kind == Kind.BASE_MODEL:
        for kind in (parts.PRE_FACTORS, parts.FORECASTS):
            for name in kind.names(run.tags):
                with suppress(Damaged):  # `check` tells of it
                    yield from _of_part(run_id, kind.content(artifacts, uri, run_id, name))
    elif run.kind == Kind.SWEEP:
        content = artifacts.read(uri, PLAN)
        if content is None and run.status == "RUNNING":
            return  # it is just begun
        plan = read_plan(content, run_id, run.tags.get("key"))
        keys = [*plan.keys()]
        yield "plans", pa.table([[run_id] * len(keys), keys], schema=STAGING["plans"])
        catalog = [{**c, "run_id": run_id, "position": n} for n, c in enumerate(plan.factors)]
        yield "catalogs", pa.Table.from_pylist(catalog, schema=STAGING["catalogs"])
    elif (run.kind, run.status) == (Kind.PREDICTION, "FINISHED"):
        yield from read_predicted(artifacts, uri, run_id, run.tags).staged().items()
    elif (run.kind, run.status) == (Kind.AUDIT, "FINISHED"):
        table = read_audited(artifacts, uri, run.tags)
        ids = pa.array([run_id] * len(table), pa.string())
        yield "audit_phi", table.add_column(0, "run_id", ids).cast(STAGING["audit_phi"])
    elif (run.kind, run.status) == (Kind.UNLEARNING, "FINISHED"):
        found = enumerate(read_rows(artifacts, uri, run_id, run.tags), start=1)
        rows = [{"run_id": run_id, "place": place, **vars(row)} for place, row in found]
        yield "requests", pa.Table.from_pylist(rows, schema=STAGING["requests"])


def _of_part(run_id: str, content: bytes) -> Iterator[tuple[str, pa.Table]]:
    """Rows of STAGING's `samples`, `costs` and `catalogs` from a part beside a base model."""
    tensors, told = load_tensors(content), parts.about(content)
    ids, columns = tensors[parts.IDS], told.get(parts.CATALOG, ())

    def table(name: str, **values: Any) -> tuple[str, pa.Table]:
        """Rows, one a sample; what is no array is the same for all."""
        values = {"run_id": run_id, "sample_id": ids, "at": told[parts.AT]} | values
        arrays = {
            field: value
            if isinstance(value, (np.ndarray, list))
            else pa.repeat(pa.scalar(value, STAGING[name].field(field).type), len(ids))
            for field, value in values.items()
        }
        return name, pa.table(arrays, schema=STAGING[name])

    for column in columns:
        yield table(
            "samples",
            label=tensors[parts.LABELS],
            sample_path=told.get(parts.PATHS, ""),  # samples may have no files
            split_position=tensors[parts.POSITIONS],
            factor=column["factor"],
            value=tensors[column["factor"]],
        )
    for name in sorted(tensors):
        if name.startswith(parts.SECONDS):
            asked = name.removeprefix(parts.SECONDS)
            yield table("costs", asked=asked, seconds=tensors[name])
    catalog = [{**column, "run_id": run_id, "position": n} for n, column in enumerate(columns)]
    yield "catalogs", pa.Table.from_pylist(catalog, schema=STAGING["catalogs"])
