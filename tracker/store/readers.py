"""Stores as they are read: a database directly, or any store through MLflow's client.

A database is read without importing MLflow. Reading writes nothing: no store comes into being by
it, and none is migrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from analysis.warehouse import STAGING
from tracker.store.addresses import Address
from tracker.store.artifacts import Artifacts
from tracker.store.blocks import in_blocks
from tracker.store.database import Rows, opened
from tracker.store.patience import Patience
from tracker.store.records import MEASURED_AT
from unlearning.errors import UserError

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tracker.store.store import Store

SQL = Path(__file__).parent / "sql"  # for SQLite and PostgreSQL alike
ROWS = ("params", "tags", "metrics")
POINTS = STAGING["metrics"].insert(2, pa.field("step", pa.int64()))
EVERY_POINT = POINTS.insert(2, pa.field("timestamp", pa.int64()))
HISTORIES = STAGING["histories"].names[2:]
AT_A_TIME = 2000  # runs whose rows are in memory at once
FEW = 500  # runs that one query asks for

RUN_COLUMNS = STAGING["runs"].append(pa.field("artifact_uri", pa.string()))
IDS = pa.schema([("run_id", pa.string())])
INFOS = pa.schema(
    [
        *((name, pa.string()) for name in ("run_id", "name", "status")),
        *(("start_time", pa.int64()), ("artifact_uri", pa.string())),
        ("experiment_id", pa.string()),
    ]
)


@dataclass(frozen=True)
class Known:
    """A run as it is read.

    Attributes:
        started_ms: milliseconds since 1970. artifact_uri: where its files are.
    """

    run_id: str
    name: str
    status: str
    started_ms: int
    artifact_uri: str
    experiment_id: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


class Reader(Protocol):
    """A store to read from. Tables have the columns of the warehouse's STAGING.

    The runs have one more, `artifact_uri`: where their files are. Whoever has many runs asks
    for the rows of AT_A_TIME.
    """

    artifacts: Artifacts

    def runs(self) -> pa.Table:
        """All runs of this tool that are not deleted."""

    def rows(self, run_ids: Sequence[str]) -> dict[str, pa.Table]:
        """Params, tags and latest metrics of these runs."""

    def histories(self, run_ids: Sequence[str]) -> pa.Table:
        """The metrics that these runs have one value a step of themselves."""

    def points(self, run_ids: Sequence[str]) -> pa.Table:
        """Every value of every metric of these runs: EVERY_POINT, NULL for NaN."""

    def every_id(self) -> set[str]:
        """The ids of all runs in the store, deleted ones too."""

    def of_kind(self, kind: str) -> list[Known]:
        """The runs of a kind that are not deleted, newest first."""

    def run(self, run_id: str) -> Known:
        """The run of that id. Raises UserError where there is none."""


class DatabaseReader:
    """MLflow's database, read directly."""

    def __init__(self, address: Address, patience: Patience) -> None:
        self.address, self.patience = address, patience
        self.artifacts = Artifacts(address, patience)

    def runs(self) -> pa.Table:
        """All runs of this tool that are not deleted."""
        return self._fetch("runs", RUN_COLUMNS)

    def rows(self, run_ids: Sequence[str]) -> dict[str, pa.Table]:
        """Params, tags and latest metrics of these runs."""
        return {name: self._rows(name, run_ids, STAGING[name]) for name in ROWS}

    def histories(self, run_ids: Sequence[str]) -> pa.Table:
        """The metrics that these runs have one value a step of themselves."""
        return _by_step(self._rows("histories", run_ids, POINTS))

    def points(self, run_ids: Sequence[str]) -> pa.Table:
        """Every value of every metric of these runs: EVERY_POINT, NULL for NaN."""
        return self._rows("points", run_ids, EVERY_POINT)

    def _rows(self, name: str, run_ids: Sequence[str], schema: pa.Schema) -> pa.Table:
        parts = [
            self._fetch(f"rows_of/{name}", schema, run_ids="".join(some))
            for some in in_blocks(run_ids, FEW)
        ]
        return pa.concat_tables([schema.empty_table(), *parts])

    def every_id(self) -> set[str]:
        """The ids of all runs in the store, deleted ones too."""
        return set(self._fetch("every_id", IDS)["run_id"].to_pylist())

    def of_kind(self, kind: str) -> list[Known]:
        """The runs of a kind that are not deleted, newest first."""
        return self._known("runs_of_kind", kind=kind)

    def run(self, run_id: str) -> Known:
        """The run of that id. Raises UserError where there is none."""
        for found in self._known("run_of_id", run_id=run_id):
            return found
        raise UserError(f"there is no run '{run_id}' in {self.address.shown}")

    def _known(self, query: str, **values: str) -> list[Known]:
        infos = self._fetch(query, INFOS, **values).to_pylist()
        tables = self.rows([info["run_id"] for info in infos])
        pairs: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in tables}
        for name, table in tables.items():
            for row in table.to_pylist():
                pairs[name].setdefault(row["run_id"], {})[row["key"]] = row["value"]
        return [
            Known(
                info["run_id"],
                info["name"],
                info["status"],
                info["start_time"],
                info["artifact_uri"],
                info["experiment_id"],
                **{name: pairs[name].get(info["run_id"], {}) for name in ROWS},
            )
            for info in infos
        ]

    def _fetch(self, name: str, schema: pa.Schema, **values: str) -> pa.Table:
        """The rows of the query `sql/<name>.sql`."""

        def attempt() -> Rows:
            with opened(self.address) as database:
                return database.rows(SQL / f"{name}.sql", **values)

        rows = self.patience(attempt)
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        pairs = zip(columns, schema.types, strict=True)  # with its type it is made in an eighth
        return pa.table([pa.array(column, kind) for column, kind in pairs], schema=schema)


class ClientReader:
    """Any MLflow store, through its client: every run is read each time."""

    def __init__(self, store: Store) -> None:
        self.store, self.artifacts = store, store.artifacts
        self.names = {e.experiment_id: e.name for e in store.experiments()}

    @cached_property
    def pages(self) -> list[_Page]:
        """All runs of this tool that are not deleted."""
        runs = self.store.runs(list(self.names))
        # A run that is begun between two of MLflow's pages has the last of the first come again.
        seen, pages = set[str](), list[_Page]()
        while some := {run.info.run_id: run for run in islice(runs, AT_A_TIME)}:
            new = [run for run_id, run in some.items() if run_id not in seen]
            pages.append(_Page.of(new, self.names))
            seen |= some.keys()
        return pages

    def runs(self) -> pa.Table:
        """All runs of this tool that are not deleted."""
        return pa.concat_tables([RUN_COLUMNS.empty_table(), *(page.runs for page in self.pages)])

    def rows(self, run_ids: Sequence[str]) -> dict[str, pa.Table]:
        """Params, tags and latest metrics of these runs."""
        wanted = pa.array(run_ids, pa.string())
        found = [page.rows(wanted) for page in self.pages if not page.ids.isdisjoint(run_ids)]
        return {
            name: pa.concat_tables([STAGING[name].empty_table(), *(part[name] for part in found)])
            for name in ROWS
        }

    def histories(self, run_ids: Sequence[str]) -> pa.Table:
        """The metrics that these runs have one value a step of themselves."""
        from tracker.store.curves import values_by_step

        having: dict[str, list[str]] = {key: [] for key in HISTORIES}
        for run_id, key in self._metrics(run_ids):
            if key in having:
                having[key].append(run_id)
        points = [
            value._asdict()
            for key in HISTORIES
            for value in values_by_step(self.store, having[key], key)
        ]
        return _by_step(pa.Table.from_pylist(points, schema=POINTS))

    def points(self, run_ids: Sequence[str]) -> pa.Table:
        """Every value of every metric of these runs: EVERY_POINT, NULL for NaN."""
        rows = [
            {"run_id": run_id, "key": key, "timestamp": p.timestamp, "step": p.step}
            | {"value": None if p.value != p.value else p.value}
            for run_id, key in self._metrics(run_ids)
            for p in self.store.client.get_metric_history(run_id, key)
        ]
        return pa.Table.from_pylist(rows, schema=EVERY_POINT)

    def _metrics(self, run_ids: Sequence[str]) -> list[tuple[str, str]]:
        """These runs, each with the names of its metrics."""
        found = self.rows(run_ids)["metrics"]
        return list(zip(found["run_id"].to_pylist(), found["key"].to_pylist(), strict=True))

    def every_id(self) -> set[str]:
        """The ids of all runs in the store, deleted ones too."""
        ids = self.store.every_experiment_id()
        return {run.info.run_id for run in self.store.runs(ids, deleted_too=True)}

    def of_kind(self, kind: str) -> list[Known]:
        """The runs of a kind that are not deleted, newest first."""
        return [_known(run) for run in self.store.runs(list(self.names), f"tags.kind = '{kind}'")]

    def run(self, run_id: str) -> Known:
        """The run of that id. Raises UserError where there is none."""
        return _known(self.store.run(run_id))


@dataclass(frozen=True)
class _Page:
    """Some runs as the client gave them, in little memory: names and ids are there once.

    Attributes:
        logged: params, tags and metrics.
    """

    ids: frozenset[str]
    runs: pa.Table
    logged: Mapping[str, pa.Table]

    @classmethod
    def of(cls, runs: Sequence[Run], experiments: Mapping[str, str]) -> _Page:
        """The page of some runs.

        Args:
            experiments: their names by their ids.
        """
        rows = [
            {
                "run_id": run.info.run_id,
                "name": run.info.run_name,
                "experiment_id": run.info.experiment_id,
                "experiment": experiments[run.info.experiment_id],
                "kind": run.data.tags.get("kind"),
                "status": run.info.status,
                "start_time": run.info.start_time,
                "end_time": run.info.end_time,
                "measured_at": run.data.tags.get(MEASURED_AT, ""),
                "artifact_uri": run.info.artifact_uri,
            }
            for run in runs
        ]
        logged = {
            name: _pairs(name, {run.info.run_id: getattr(run.data, name) for run in runs})
            for name in ROWS
        }
        ids = frozenset(row["run_id"] for row in rows)
        return cls(ids, pa.Table.from_pylist(rows, schema=RUN_COLUMNS), logged)

    def rows(self, wanted: pa.Array) -> dict[str, pa.Table]:
        """Params, tags and metrics of those of its runs that are wanted."""
        tables = {name: table.cast(STAGING[name]) for name, table in self.logged.items()}
        return {
            name: table.filter(pc.is_in(table["run_id"], value_set=wanted))
            for name, table in tables.items()
        }


def _known(run: Run) -> Known:
    info, data = run.info, run.data
    return Known(
        info.run_id,
        info.run_name,
        info.status,
        info.start_time,
        info.artifact_uri,
        info.experiment_id,
        data.params,
        data.tags,
        data.metrics,
    )


def _by_step(points: pa.Table) -> pa.Table:
    """A row a run and step, with a column for each metric; NULL where it is not finite."""
    finite = points.filter(pc.is_finite(points["value"]))
    prob, loss = (
        finite.filter(pc.equal(finite["key"], name))
        .drop_columns("key")
        .rename_columns(["run_id", "step", name])
        for name in HISTORIES
    )
    both = prob.join(loss, ["run_id", "step"], join_type="full outer")
    return both.select(STAGING["histories"].names).sort_by(
        [("run_id", "ascending"), ("step", "ascending")]
    )


def _pairs(name: str, values: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """The rows of a table of STAGING, with run ids and keys as dictionaries."""
    each = [(run_id, *pair) for run_id, pairs in values.items() for pair in pairs.items()]
    run_ids, keys, found = zip(*each, strict=True) if each else ((), (), ())
    text = pa.dictionary(pa.int32(), pa.string())
    kind = STAGING[name].field("value").type
    arrays = [pa.array(run_ids, text), pa.array(keys, text), pa.array(found, kind)]
    return pa.table(arrays, names=STAGING[name].names)
