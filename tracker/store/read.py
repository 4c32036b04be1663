"""Stores as they are read: a database directly, or any store through MLflow's client.

A database is read without importing MLflow. Reading writes nothing: no store comes into being by
it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.warehouse import STAGING
from tracker.store import queries
from tracker.store.addresses import Address
from tracker.store.blocks import in_blocks
from tracker.store.database import opened
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
    Known,
    Point,
)
from tracker.store.retry import Retry
from unlearning.errors import UserError

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tracker.store.runs import Runs

PAIRS = {"params": queries.PARAMS, "tags": queries.TAGS, "metrics": queries.LATEST}
ROWS = tuple(PAIRS)
CURVES = STAGING["histories"].names[2:]
AT_A_TIME = 2000  # runs whose rows are in memory at once
TOLD = ("status", "checkpoint", VERSIONS, PARENT, HISTORIES)  # tags of `Finished`

RUN_COLUMNS = STAGING["runs"].append(pa.field("artifact_uri", pa.string()))
POINTS = pa.schema(
    [
        *((name, pa.string()) for name in ("run_id", "key")),
        *((name, pa.int64()) for name in ("timestamp", "step")),
        ("value", pa.float64()),
    ]
)

# What the chart of MLflow's own pages asks of a server, so that each run is no request of its own.
IN_BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
BULK_RUNS, BULK_VALUES = 100, 25_000  # that it answers at most


class Reader:
    """A store to read from: MLflow's database, directly. Tables have the columns of STAGING.

    The runs have one more, `artifact_uri`: where their files are. Whoever has many runs asks
    for the rows of AT_A_TIME.
    """

    def __init__(self, address: Address, retry: Retry) -> None:
        self.address, self.retry = address, retry
        self.artifacts = Artifacts(address, retry)

    def runs(self) -> pa.Table:
        """All runs of this tool that are not deleted."""
        return _table(self._fetched(queries.runs()), RUN_COLUMNS)

    def rows(self, run_ids: Sequence[str]) -> dict[str, pa.Table]:
        """Params, tags and latest metrics of these runs."""
        return {
            name: _tables([self._pairs(name, some) for some in _few(run_ids)], STAGING[name])
            for name in ROWS
        }

    def points(self, run_ids: Sequence[str], names: Collection[str] | None = None) -> pa.Table:
        """The values of metrics of these runs, of those names or of all: POINTS, NULL for NaN."""
        return _table(self._points(run_ids, names), POINTS)

    def _points(self, run_ids: Sequence[str], names: Collection[str] | None) -> queries.Rows:
        blocks = (self._fetched(queries.points(some, names)) for some in _few(run_ids))
        return [row for some in blocks for row in some]

    def every_id(self) -> set[str]:
        """The ids of all runs in the store, deleted ones too."""
        return {run_id for (run_id,) in self._fetched(queries.every_id())}

    def some(self, kind: str | None = None, run_ids: Sequence[str] | None = None) -> list[Known]:
        """The runs of a kind, newest first, or those of these ids; deleted ones are left out."""
        blocks = [None] if run_ids is None else _few(run_ids)
        rows = [row for some in blocks for row in self._fetched(queries.runs(kind, some))]
        names = RUN_COLUMNS.names
        begun, run_id = names.index("start_time"), names.index("run_id")
        newest = sorted(rows, key=lambda row: (-row[begun], row[run_id]))
        ids = [row[run_id] for row in newest]
        told = {
            name: _by_run(pair for some in _few(ids) for pair in self._pairs(name, some))
            for name in ROWS
        }
        return [_known(dict(zip(names, row, strict=True)), told) for row in newest]

    def finished(self, digests: Collection[str]) -> dict[str, Finished]:
        """Members that are done, by key, of all sweeps, with any of these digests."""
        if not digests:
            return {}
        keys: dict[str, str] = dict(self._fetched(queries.members(digests)))
        names = {"tags": TOLD, "metrics": (*AVERAGED.values(), *READ.values())}
        tags, metrics = (
            _by_run(
                pair
                for some in _few(list(keys))
                for pair in self._pairs(name, some, wanted)
                if pair[2] is not None
            )
            for name, wanted in names.items()
        )
        return {
            key: Finished.told(run_id, tags[run_id], metrics.get(run_id, {}))
            for run_id, key in keys.items()
            if run_id in tags
        }

    def _pairs(
        self, name: str, run_ids: Sequence[str], names: Collection[str] | None = None
    ) -> queries.Rows:
        return self._fetched(queries.pairs(PAIRS[name], run_ids, names))

    def _fetched(self, query: Any) -> queries.Rows:
        def attempt() -> queries.Rows:
            with opened(self.address) as connection:
                return queries.fetched(connection, query)

        return self.retry(attempt)

    # What is made of these

    def of_kind(self, kind: str) -> list[Known]:
        """The runs of a kind that are not deleted, newest first."""
        return self.some(kind=kind)

    def run(self, run_id: str) -> Known:
        """The run of that id. Raises UserError where there is none."""
        for found in self.some(run_ids=[run_id]):
            return found
        raise UserError(f"there is no run '{run_id}' in {self.address.shown}")

    def histories(self, run_ids: Sequence[str]) -> pa.Table:
        """A row a run and step, with a column for each curve; NULL where it is not finite."""
        points = self.points(run_ids, CURVES).drop_columns("timestamp")
        finite = points.filter(pc.is_finite(points["value"]))
        prob, loss = (
            finite.filter(pc.equal(finite["key"], name))
            .drop_columns("key")
            .rename_columns(["run_id", "step", name])
            for name in CURVES
        )
        both = prob.join(loss, ["run_id", "step"], join_type="full outer")
        return both.select(STAGING["histories"].names).sort_by(
            [("run_id", "ascending"), ("step", "ascending")]
        )

    def logged(self, run_ids: Sequence[str], histories: Sequence[str] = ()) -> list[Known]:
        """These runs, in order, with the histories of those names, where they are kept."""
        found = {run.run_id: run for run in self.some(run_ids=run_ids)}
        curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
        kept = [run.run_id for run in found.values() if HISTORIES not in run.tags]
        if histories and kept:
            for run_id, key, _, step, value in self._points(kept, histories):
                curves.setdefault(run_id, {}).setdefault(key, []).append((step, _number(value)))
        return [
            replace(found[i], histories=_to_last_step(found[i], curves.get(i, {})))
            for i in run_ids
            if i in found
        ]

    def whole(self, run_ids: Sequence[str]) -> list[Known]:
        """These runs, in order, with every value of their metrics."""
        found = {run.run_id: run for run in self.some(run_ids=run_ids)}
        points: dict[str, list[Point]] = {run_id: [] for run_id in run_ids}
        for run_id, key, at, step, value in self._points(run_ids, None):
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
    def pages(self) -> list[dict[str, pa.Table]]:
        """All runs of this tool that are not deleted, AT_A_TIME, with what is logged of them."""
        runs = self.store.runs(list(self.names))
        # A run that is begun between two of MLflow's pages has the last of the first come again.
        seen, pages = set[str](), []
        while some := {run.info.run_id: run for run in islice(runs, AT_A_TIME)}:
            pages.append(self._page([run for run_id, run in some.items() if run_id not in seen]))
            seen |= some.keys()
        return pages

    def _page(self, runs: Sequence[Run]) -> dict[str, pa.Table]:
        """Some runs in little memory: run ids and names are there once."""
        rows = [
            (
                run.info.run_id,
                run.info.run_name,
                run.info.experiment_id,
                self.names.get(run.info.experiment_id, ""),
                run.data.tags.get("kind"),
                run.info.status,
                run.info.start_time,
                run.info.end_time,
                run.data.tags.get(MEASURED_AT, ""),
                run.info.artifact_uri,
            )
            for run in runs
        ]
        page, text = {"runs": _table(rows, RUN_COLUMNS)}, pa.dictionary(pa.int32(), pa.string())
        for name in ROWS:
            values = [
                (run.info.run_id, *pair) for run in runs for pair in getattr(run.data, name).items()
            ]
            schema = STAGING[name]
            types = (text, text, schema.field("value").type)
            page[name] = _table(values, pa.schema(zip(schema.names, types, strict=True)))
        return page

    def runs(self) -> pa.Table:
        """All runs of this tool that are not deleted."""
        return pa.concat_tables([RUN_COLUMNS.empty_table(), *(p["runs"] for p in self.pages)])

    def rows(self, run_ids: Sequence[str]) -> dict[str, pa.Table]:
        """Params, tags and latest metrics of these runs."""
        wanted = pa.array(run_ids, pa.string())
        found: dict[str, list[pa.Table]] = {name: [STAGING[name].empty_table()] for name in ROWS}
        for page in self.pages:
            if pc.any(pc.is_in(page["runs"]["run_id"], value_set=wanted)).as_py():
                for name, tables in found.items():
                    table = page[name].cast(STAGING[name])
                    tables.append(table.filter(pc.is_in(table["run_id"], value_set=wanted)))
        return {name: pa.concat_tables(tables) for name, tables in found.items()}

    def _points(self, run_ids: Sequence[str], names: Collection[str] | None) -> queries.Rows:
        having = dict.fromkeys(names or (), run_ids)
        if names is None:
            runs = self.some(run_ids=run_ids)
            every = sorted({name for run in runs for name in run.metrics})
            having = {n: [run.run_id for run in runs if n in run.metrics] for n in every}
        values = [
            value
            for name, ids in having.items()
            for some in in_blocks(ids, BULK_RUNS)
            for value in self._values(some, name)
        ]
        return [(*v[:4], None if math.isnan(v[4]) else v[4]) for v in values]

    def _values(self, run_ids: Sequence[str], name: str) -> list[tuple[Any, ...]]:
        """The values of a metric of runs, in one request where the store answers that in full."""
        from mlflow.store.tracking.rest_store import RestStore
        from mlflow.utils.rest_utils import http_request

        backend: Any = self.store.client._tracking_client.store
        if isinstance(backend, RestStore):
            params = [*(("run_id", run_id) for run_id in run_ids), ("metric_key", name)]
            answer = self.store.retry(
                lambda: http_request(backend.get_host_creds(), IN_BULK, "GET", params=params)
            )
            if answer.status_code == HTTPStatus.OK and len(answer.json()["metrics"]) < BULK_VALUES:
                return [
                    (v["run_id"], name, int(v["timestamp"]), int(v["step"]), float(v["value"]))
                    for v in answer.json()["metrics"]
                ]
        return [
            (run_id, name, point.timestamp, point.step, point.value)
            for run_id in run_ids
            for point in self.store.client.get_metric_history(run_id, name)
        ]

    def every_id(self) -> set[str]:
        """The ids of all runs in the store, deleted ones too."""
        ids = self.store.every_experiment_id()
        return {run.info.run_id for run in self.store.runs(ids, deleted_too=True)}

    def some(self, kind: str | None = None, run_ids: Sequence[str] | None = None) -> list[Known]:
        """The runs of a kind, newest first, or those of these ids; deleted ones are left out."""
        if run_ids is None:
            page = self._page(list(self.store.runs(list(self.names), f"tags.kind = '{kind}'")))
        else:
            page = self._page([self.store.run(run_id) for run_id in run_ids])
        return as_known(page["runs"], page)

    def finished(self, digests: Collection[str]) -> dict[str, Finished]:
        """Members that are done, by key, of all sweeps, with any of these digests."""
        done = {}
        for digest in digests:
            for run in self.store.finished_runs(Kind.MEMBER, f"tags.key LIKE '{digest}-%'"):
                tags, metrics = run.data.tags, run.data.metrics
                done[tags["key"]] = Finished.told(run.info.run_id, tags, metrics)
        return done


def as_known(runs: pa.Table, rows: Mapping[str, pa.Table]) -> list[Known]:
    """Runs of a reader with what is logged of them, in order."""
    for name in ("start_time", "end_time"):
        place = runs.schema.get_field_index(name)
        runs = runs.set_column(place, name, runs[name].cast(pa.int64()))  # milliseconds
    told = {name: _by_run(_tuples(rows[name], ("run_id", "key", "value"))) for name in ROWS}
    return [_known(run, told) for run in runs.to_pylist()]


def _known(run: Mapping[str, Any], told: Mapping[str, Mapping[str, dict[str, Any]]]) -> Known:
    """A run, by the columns of `RUN_COLUMNS`, with what is told of it by ROWS and run."""
    run_id: str = run["run_id"]
    params, tags, metrics = (told[name].get(run_id, {}) for name in ROWS)
    return Known(
        run_id=run_id,
        name=run["name"],
        kind=run["kind"] or "",
        status=run["status"],
        experiment=run["experiment"],
        experiment_id=run["experiment_id"],
        started_ms=run["start_time"],
        ended_ms=run["end_time"],
        artifact_uri=run["artifact_uri"] or "",
        params=params,
        tags=tags,
        metrics={name: _number(value) for name, value in metrics.items()},
    )


def _by_run(pairs: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for run_id, key, value in pairs:
        found.setdefault(run_id, {})[key] = value
    return found


def _few(run_ids: Sequence[str]) -> list[list[str]]:
    return list(in_blocks(run_ids, queries.AT_A_TIME))


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    pairs = zip(columns, schema.types, strict=True)  # with its type it is made in an eighth
    return pa.table([pa.array(column, kind) for column, kind in pairs], schema=schema)


def _tables(blocks: Sequence[queries.Rows], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([schema.empty_table(), *(_table(rows, schema) for rows in blocks)])


def _tuples(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _to_last_step(
    run: Known, curves: Mapping[str, list[tuple[int, float]]]
) -> dict[str, list[float]]:
    """Curves without what comes again after the last step: see `records.all_metrics`."""
    steps = run.metrics.get(AVERAGED["steps"])
    end = None if steps is None else int(steps) + 1
    return {
        name: [value for _, value in sorted(curve, key=lambda pair: pair[0])[:end]]
        for name, curve in curves.items()
    }
