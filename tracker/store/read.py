"""Stores as they are read: a database directly, or any store through MLflow's client.

A database is read without importing MLflow. Reading writes nothing: no store comes into being by
it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import false, or_, select, text

from analysis.warehouse import STAGING
from tracker.store import queries
from tracker.store.addresses import Address
from tracker.store.files import Artifacts
from tracker.store.records import (
    AVERAGED,
    HISTORIES,
    MEASURED_AT,
    PARENT,
    READ,
    VERSIONS,
    Finished,
    Kind,
    Point,
    Run,
    in_blocks,
)
from tracker.store.retry import Retry
from unlearning.errors import UserError

if TYPE_CHECKING:
    from tracker.store.runs import Runs

ROWS = tuple(queries.PAIRS)
CURVES = STAGING["histories"].names[2:]
AT_A_TIME = 2000  # runs whose rows are in memory at once
TOLD = ("status", "checkpoint", VERSIONS, PARENT, HISTORIES)  # tags of `Finished`

RUN_COLUMNS = STAGING["runs"].append(pa.field("artifact_uri", pa.string()))
TEXT, WHOLE, REAL = pa.string(), pa.int64(), pa.float64()
POINTS = {"run_id": TEXT, "key": TEXT, "timestamp": WHOLE, "step": WHOLE, "value": REAL}

Tables = dict[str, pa.Table]  # by ROWS, and the runs themselves


class Reader:
    """A store to read from: MLflow's database, directly. Tables have the columns of STAGING.

    The runs have one more, `artifact_uri`: where their files are. Whoever has many runs asks
    for the rows of AT_A_TIME.
    """

    def __init__(self, address: Address, retry: Retry) -> None:
        self.address, self.retry = address, retry
        self.artifacts = Artifacts(address, retry)

    # The five ways in which all is read; a server has its own

    def runs(self) -> pa.Table:
        """All runs of this tool that are not deleted."""

        def attempt() -> pa.Table:
            with queries.opened(self.address) as connection:
                blocks = queries.blocks(connection, select(queries.RUNS))
                return pa.concat_tables(_table(block, RUN_COLUMNS) for block in blocks)

        return self.retry(attempt).combine_chunks()

    def rows(self, run_ids: Sequence[str]) -> Tables:
        """Params, tags and latest metrics of these runs."""
        found = {name: self._of(source, run_ids) for name, source in queries.PAIRS.items()}
        return {name: _table(columns, STAGING[name]) for name, columns in found.items()}

    def some(self, kind: str | None = None, run_ids: Sequence[str] | None = None) -> list[Run]:
        """The runs of a kind, newest first, or those of these ids; deleted ones are left out."""
        if run_ids is None:
            columns = self._fetched(select(queries.RUNS).where(queries.RUNS.c.kind == kind))
        else:
            columns = self._of(queries.RUNS, run_ids)
        order = [("start_time", "descending"), ("run_id", "ascending")]
        runs = _table(columns, RUN_COLUMNS).sort_by(order)
        return as_runs(runs, self.rows(runs["run_id"].to_pylist()))

    def finished(self, digests: Collection[str]) -> dict[str, Finished]:
        """Members that are done, by key, of all sweeps, with any of these digests."""
        key = queries.MEMBERS.c.key
        digested = or_(false(), *(key.like(f"{digest}-%") for digest in digests))
        found = self._fetched(select(queries.MEMBERS).where(digested))
        keys: dict[str, str] = dict(zip(*found, strict=True))
        tags = _by_run(*self._of(queries.PAIRS["tags"], [*keys], TOLD))
        wanted = (*AVERAGED.values(), *READ.values())
        metrics = _by_run(*self._of(queries.PAIRS["metrics"], [*keys], wanted))
        return {
            key: Finished.told(run_id, tags[run_id], metrics.get(run_id, {}))
            for run_id, key in keys.items()
            if run_id in tags
        }

    def every_id(self) -> set[str]:
        """The ids of all runs in the store, deleted ones too."""
        (run_ids,) = self._fetched(text("select run_uuid from runs"))
        return set(run_ids)

    def points(self, run_ids: Sequence[str], names: Collection[str] | None) -> queries.Columns:
        """The values of metrics of these runs, of those names or of all: POINTS, None for NaN."""
        return self._of(queries.POINTS, run_ids, names)

    def _of(
        self, source: Any, run_ids: Sequence[str], names: Collection[str] | None = None
    ) -> queries.Columns:
        """The rows of a relation that are of these runs, and have a key of those names."""
        columns: queries.Columns = [[] for _ in source.c]
        for some in in_blocks(run_ids, queries.AT_A_TIME):
            query = select(source).where(source.c.run_id.in_(some))
            if names is not None:  # as a term, or SQLite walks through all runs' values of a name
                query = query.where(source.c.key.concat("").in_(names))
            for known, values in zip(columns, self._fetched(query), strict=True):
                known += values
        return columns

    def _fetched(self, query: Any) -> queries.Columns:
        def attempt() -> queries.Columns:
            with queries.opened(self.address) as connection:
                return queries.fetched(connection, query)

        return self.retry(attempt)

    # What is made of these

    def of_kind(self, kind: str) -> list[Run]:
        """The runs of a kind that are not deleted, newest first."""
        return self.some(kind=kind)

    def run(self, run_id: str) -> Run:
        """The run of that id. Raises UserError where there is none."""
        for found in self.some(run_ids=[run_id]):
            return found
        raise UserError(f"there is no run '{run_id}' in {self.address.shown}")

    def histories(self, run_ids: Sequence[str]) -> pa.Table:
        """A row a run and step, with a column for each curve; NULL where it is not finite."""
        points = _table(self.points(run_ids, CURVES), pa.schema(POINTS)).drop_columns("timestamp")
        finite = points.filter(pc.is_finite(points["value"]))
        prob, loss = (
            finite.filter(pc.equal(finite["key"], name))
            .drop_columns("key")
            .rename_columns(["run_id", "step", name])
            for name in CURVES
        )
        both = prob.join(loss, ["run_id", "step"], join_type="full outer")
        order = [("run_id", "ascending"), ("step", "ascending")]
        return both.select(STAGING["histories"].names).sort_by(order)

    def logged(self, run_ids: Sequence[str], histories: Sequence[str] = ()) -> list[Run]:
        """These runs, in order, with the histories of those names, where they are kept."""
        found = {run.run_id: run for run in self.some(run_ids=run_ids)}
        kept = [run.run_id for run in found.values() if histories and HISTORIES not in run.tags]
        curves: dict[str, dict[str, list[float]]] = {run_id: {} for run_id in kept}
        points = zip(*self.points(kept, histories), strict=True)
        for run_id, key, _, step, value in sorted(points, key=lambda point: point[3]):
            # What comes again after the last step is no part of it: see `records.all_metrics`.
            if step <= found[run_id].metrics.get(AVERAGED["steps"], math.inf):
                curves[run_id].setdefault(key, []).append(_number(value))
        return [replace(found[i], histories=curves.get(i, {})) for i in run_ids if i in found]

    def whole(self, run_ids: Sequence[str]) -> list[Run]:
        """These runs, in order, with every value of their metrics."""
        found = {run.run_id: run for run in self.some(run_ids=run_ids)}
        points: dict[str, list[Point]] = {run_id: [] for run_id in run_ids}
        for run_id, key, at, step, value in zip(*self.points(run_ids, None), strict=True):
            points[run_id].append(Point(key, _number(value), at, step))
        return [replace(found[i], points=tuple(sorted(points[i]))) for i in run_ids]


class ClientReader(Reader):
    """Any other MLflow store, through its client: every run is read each time."""

    def __init__(self, store: Runs) -> None:
        self.store, self.address, self.artifacts = store, store.address, store.artifacts

    @cached_property
    def names(self) -> dict[str, str]:
        """The names of this tool's experiments, by id."""
        return {e.experiment_id: e.name for e in self.store.experiments()}

    @cached_property
    def everything(self) -> Tables:
        """All runs of this tool that are not deleted, with what is logged of them."""
        # A run that is begun between two of MLflow's pages has the last of the first come again.
        seen, pages = set[str](), [self._tables([])]
        runs = self.store.runs(list(self.names))
        while some := {run.run_id: run for run in islice(runs, AT_A_TIME)}:
            pages.append(self._tables(run for run_id, run in some.items() if run_id not in seen))
            seen |= some.keys()
        return {name: pa.concat_tables(page[name] for page in pages) for name in pages[0]}

    def _tables(self, runs: Iterable[Run]) -> Tables:
        """These runs, with what is logged of them."""
        known = list(runs)
        rows = [
            (
                *(run.run_id, run.name),
                *(run.experiment_id, self.names.get(run.experiment_id, "")),
                *(run.tags.get("kind"), run.status),
                *(run.started_ms, run.ended_ms),
                *(run.tags.get(MEASURED_AT, ""), run.artifact_uri),
            )
            for run in known
        ]
        pairs = {
            name: [(run.run_id, *pair) for run in known for pair in getattr(run, name).items()]
            for name in ROWS
        }
        tables = {n: _table(_columns(rows, 3), STAGING[n]) for n, rows in pairs.items()}
        return {"runs": _table(_columns(rows, len(RUN_COLUMNS)), RUN_COLUMNS), **tables}

    def runs(self) -> pa.Table:
        """All runs of this tool that are not deleted."""
        return self.everything["runs"]

    def rows(self, run_ids: Sequence[str]) -> Tables:
        """Params, tags and latest metrics of these runs."""
        wanted, tables = pa.array(run_ids, pa.string()), self.everything
        return {n: tables[n].filter(pc.is_in(tables[n]["run_id"], value_set=wanted)) for n in ROWS}

    def some(self, kind: str | None = None, run_ids: Sequence[str] | None = None) -> list[Run]:
        """The runs of a kind, newest first, or those of these ids; deleted ones are left out."""
        if run_ids is not None:
            return [self.store.run(run_id) for run_id in run_ids]
        return [*self.store.runs(list(self.names), f"tags.kind = '{kind}'")]

    def finished(self, digests: Collection[str]) -> dict[str, Finished]:
        """Members that are done, by key, of all sweeps, with any of these digests."""
        return {
            run.tags["key"]: Finished.told(run.run_id, run.tags, run.metrics)
            for digest in digests
            for run in self.store.finished_runs(Kind.MEMBER, f"tags.key LIKE '{digest}-%'")
        }

    def every_id(self) -> set[str]:
        """The ids of all runs in the store, deleted ones too."""
        from mlflow.entities import ViewType

        ids = [e.experiment_id for e in self.store.client.search_experiments(ViewType.ALL)]
        return {run.run_id for run in self.store.runs(ids, deleted_too=True)}

    def points(self, run_ids: Sequence[str], names: Collection[str] | None) -> queries.Columns:
        """The values of metrics of these runs, of those names or of all: POINTS, None for NaN."""
        if names is None:
            asked = [
                (run.run_id, name) for run in self.some(run_ids=run_ids) for name in run.metrics
            ]
        else:
            asked = [(run_id, name) for run_id in run_ids for name in names]
        history = self.store.client.get_metric_history
        answers = self.store.at_once(lambda one: history(*one), asked)
        rows = [
            (*one, p.timestamp, p.step, None if math.isnan(p.value) else p.value)
            for one, points in zip(asked, answers, strict=True)
            for p in points
        ]
        return _columns(rows, len(POINTS))


def as_runs(runs: pa.Table, rows: Mapping[str, pa.Table]) -> list[Run]:
    """Runs of a reader with what is logged of them, in order."""
    for name in ("start_time", "end_time"):
        place = runs.schema.get_field_index(name)
        runs = runs.set_column(place, name, runs[name].cast(pa.int64()))  # milliseconds
    columns = ("run_id", "key", "value")
    told = {name: _by_run(*(rows[name][column].to_pylist() for column in columns)) for name in ROWS}
    params, tags, metrics = (told[name] for name in ROWS)
    return [
        Run(
            run_id=(run_id := run["run_id"]),
            name=run["name"],
            kind=run["kind"] or "",
            status=run["status"],
            experiment_id=run["experiment_id"],
            started_ms=run["start_time"],
            ended_ms=run["end_time"],
            artifact_uri=run["artifact_uri"] or "",
            params=params.get(run_id, {}),
            tags=tags.get(run_id, {}),
            metrics={name: _number(v) for name, v in metrics.get(run_id, {}).items()},
        )
        for run in runs.to_pylist()
    ]


def _by_run(*columns: Iterable[Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for run_id, key, value in zip(*columns, strict=True):
        found.setdefault(run_id, {})[key] = value
    return found


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> queries.Columns:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]


def _table(columns: queries.Columns, schema: pa.Schema) -> pa.Table:
    pairs = zip(columns, schema.types, strict=True)  # with its type it is made in an eighth
    return pa.table([pa.array(column, kind) for column, kind in pairs], schema=schema)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
