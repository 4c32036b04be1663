"""From MLflow into the warehouse: what changed since the last time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis import warehouse
from analysis.warehouse import STAGING, Changes
from tracker.reading.beside import of_base_models
from tracker.store.files import Damaged
from tracker.store.blocks import in_blocks
from tracker.store.read import AT_A_TIME, ROWS, Reader
from tracker.store.records import HISTORIES, Kind
from tracker.store.read import by_run
from tracker.studies.predicted import read_predicted
from tracker.studies.request_table import read_rows
from tracker.sweep.plan import PLAN, KeptPlan, read_plan


@dataclass(frozen=True)
class Loaded:
    """What a load did: runs that were read or forgotten, and what is wrong with runs' files."""

    changes: Changes
    lost: Mapping[str, str]


def load(reader: Reader, path: Path, deep: bool = False, store: str | None = None) -> Loaded:
    """Bring the warehouse at `path` up to date.

    A run is read again when its name, status or times changed, and forgotten when it was deleted.
    A tag or a metric that was edited by hand in a finished run is seen only if `deep`, which reads
    everything. Of a sweep whose plan is lost, or a prediction or an unlearning whose file is, the
    warehouse keeps what it had of it.

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
        fresh["histories"] = STAGING["histories"].empty_table()
        kept = warehouse.from_files(path, list(lost))
        fresh |= {name: pa.concat_tables([fresh[name], kept[name]]) for name in kept}
        members = set(_of_kind(fresh["runs"], Kind.MEMBER)["run_id"].to_pylist())
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
    above = wanted.filter(pc.not_equal(pc.fill_null(wanted["kind"], ""), Kind.MEMBER)).to_pylist()
    tags = by_run(reader.rows([run["run_id"] for run in above])["tags"])
    plans, lost = _plans(reader, [run for run in above if run["kind"] == Kind.SWEEP], tags)
    bases = [run for run in above if run["kind"] == Kind.BASE_MODEL]
    beside, catalogs = of_base_models(reader.artifacts, bases, tags)
    made = [run for run in above if (run["kind"], run["status"]) == (Kind.PREDICTION, "FINISHED")]
    predictions, lost_predictions = _predictions(reader, made, tags)
    done = [run for run in above if (run["kind"], run["status"]) == (Kind.UNLEARNING, "FINISHED")]
    requests, lost_requests = _requests(reader, done, tags)
    tables = {
        "runs": wanted.select(STAGING["runs"].names).cast(STAGING["runs"]),
        **{name: STAGING[name].empty_table() for name in ROWS},
        "plans": pa.concat_tables(
            [_keys(*item) for item in plans.items()] or [_table("plans", [])]
        ),
        **beside,
        "catalogs": _table(
            "catalogs", catalogs + [row for item in plans.items() for row in _catalog(*item)]
        ),
        **predictions,
        "requests": _table("requests", requests),
    }
    return tables, lost | lost_predictions | lost_requests


def logged(reader: Reader, run_ids: list[str], members: Collection[str]) -> dict[str, pa.Table]:
    """What is logged of runs, for the warehouse's staging; of members the histories too."""
    rows = reader.rows(run_ids)
    tags = rows["tags"]
    without = set(tags.filter(pc.equal(tags["key"], HISTORIES))["run_id"].to_pylist())
    kept = [run_id for run_id in run_ids if run_id in members and run_id not in without]
    return {**rows, "histories": reader.histories(kept)}


def _plans(
    reader: Reader, sweeps: list[dict[str, Any]], tags: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, KeptPlan], dict[str, str]]:
    """The plans of sweeps, and what is wrong with the others; not of one that is just begun."""
    plans, lost = {}, {}
    for run in sweeps:
        run_id = run["run_id"]
        try:
            content = reader.artifacts.read(run["artifact_uri"], PLAN)
            if content is not None or run["status"] != "RUNNING":
                plans[run_id] = read_plan(content, run_id, tags.get(run_id, {}).get("key"))
        except Damaged as damage:
            lost[run_id] = str(damage)
    return plans, lost


def _predictions(
    reader: Reader, runs: list[dict[str, Any]], tags: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, pa.Table], dict[str, str]]:
    """The rows of predictions' files, and what is wrong with the others."""
    staged = {name: [STAGING[name].empty_table()] for name in ("predictions", "calibrations")}
    lost = {}
    for run_id, uri in ((run["run_id"], run["artifact_uri"]) for run in runs):
        try:
            found = read_predicted(reader.artifacts, uri, tags.get(run_id, {})).staged(run_id)
        except Damaged as damage:
            lost[run_id] = f"of prediction {run_id}, {damage}"
        else:
            for name, parts in staged.items():
                parts.append(found[name])
    return {name: pa.concat_tables(parts) for name, parts in staged.items()}, lost


def _requests(
    reader: Reader, runs: list[dict[str, Any]], tags: Mapping[str, Mapping[str, str]]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows of unlearnings' tables, and what is wrong with the others."""
    rows, lost = [], {}
    for run_id, uri in ((run["run_id"], run["artifact_uri"]) for run in runs):
        try:
            found = read_rows(reader.artifacts, uri, run_id, tags.get(run_id, {}))
        except Damaged as damage:
            lost[run_id] = str(damage)
        else:
            rows += [
                {"run_id": run_id, "place": place, **vars(row)}
                for place, row in enumerate(found, start=1)
            ]
    return rows, lost


def _of_kind(runs: pa.Table, kind: Kind) -> pa.Table:
    return runs.filter(pc.equal(pc.fill_null(runs["kind"], ""), str(kind)))


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=STAGING[name])


def _keys(sweep_id: str, plan: KeptPlan) -> pa.Table:
    keys = plan.member_keys()
    return pa.table([[sweep_id] * len(keys), keys], schema=STAGING["plans"])


def _catalog(sweep_id: str, plan: KeptPlan) -> list[dict[str, Any]]:
    return [
        {**column, "run_id": sweep_id, "position": position}
        for position, column in enumerate(plan.factors)
    ]
