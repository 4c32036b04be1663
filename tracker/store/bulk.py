"""Many runs in one transaction, for MLflow stores that are databases.

They are the rows that MLflow's client would write, through MLflow's own SQLAlchemy models and a
session of its own store, which checks the schema. The client itself needs several transactions a
run, which would take most of a sweep's time.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any, TypeVar, cast

from mlflow.entities import Param, RunTag
from mlflow.store.tracking.dbmodels.models import (
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.validation import _validate_batch_log_data, _validate_metric
from sqlalchemy import and_, delete, insert, select, text
from sqlalchemy.orm import Session

from tracker.store.read import Reader
from tracker.store.records import Known, Point, all_metrics, milliseconds
from tracker.store.weights import FILE_TAGS, FILES, files_of
from tracker.store.write import WHOLE, Change, Row, Store

MODELS = (SqlRun, SqlTag, SqlParam, SqlMetric, SqlLatestMetric)  # in the order of their keys

Columns = dict[str, Any]
Tables = dict[Any, list[Columns]]  # rows by MLflow's model of the table
Answer = TypeVar("Answer")


class SqlStore(Store):
    """A store whose runs are written in bulk.

    A run's id follows from its key, so that of two processes that write the same run only one can
    insert its row. Files are on the disk before rows and are named by their content: a finished
    run has all of its files, and no process overwrites those of another.
    """

    @property
    def reader(self) -> Reader:
        """The store to read from; what was written before is seen."""
        return Reader(self.address, self.retry)

    def _put(
        self,
        experiment_id: str,
        rows: Sequence[Row],
        there: Sequence[str] = WHOLE,
        instead_of: Collection[str] = (),
    ) -> list[tuple[str, bool]]:
        """Write runs in one transaction; their ids, and whether they are new.

        Args:
            there: statuses of runs that count as written; other remains are deleted.
            instead_of: ids of runs whose place others take.
        """
        experiment = self.client.get_experiment(experiment_id)
        uri = f"{experiment.artifact_location.rstrip('/')}/{{}}/artifacts".format
        ids = [run_id_of(row.key) for row in rows]
        tables = {}
        for run_id, row in zip(ids, rows, strict=True):
            self.artifacts.write(uri(run_id), row.record.artifacts)
            tables[run_id] = self._tables(run_id, row, int(experiment_id), uri(run_id))
        theirs, gone = self._transaction(lambda s: _insert(s, tables, there, instead_of))
        own = dict(zip(ids, (set(row.record.artifacts) for row in rows), strict=True))
        stale = {run_id: names - own.get(run_id, set()) for run_id, names in gone.items()}
        for run in self.reader.some(run_ids=[*theirs]) if theirs else []:
            stale[run.run_id] = own[run.run_id] - files_of(run.tags)
        for run_id, names in stale.items():
            for name in filter(FILES.fullmatch, names):
                self.artifacts.delete(uri(run_id), name)
        return [(run_id, run_id not in theirs) for run_id in ids]

    def _change(self, changes: Sequence[Change], before: Mapping[str, Known]) -> None:
        """Write metrics and tags onto runs in one transaction, in place of those of their names."""
        now, tables = milliseconds(), dict[Any, list[Columns]]()
        points = [
            {"run_uuid": change.run_id} | self._metric(Point(name, value, now, 0))
            for change in changes
            for name, value in change.metrics.items()
            if value == value
        ]
        tables[SqlMetric] = tables[SqlLatestMetric] = points
        tables[SqlTag] = [
            {"run_uuid": change.run_id, "key": name, "value": value}
            for change in changes
            for name, value in change.tags.items()
        ]
        ids = [change.run_id for change in changes]
        metrics = {name for change in changes for name in change.metrics}
        names = {SqlTag: {name for change in changes for name in change.tags}}

        def replace(session: Session) -> None:
            for model, rows in tables.items():
                keys = names.get(model, metrics)
                session.execute(
                    delete(model).where(and_(model.run_uuid.in_(ids), model.key.in_(keys)))
                )
                if rows:
                    session.execute(insert(model.__table__), rows)

        self._transaction(replace)

    def _tables(self, run_id: str, row: Row, experiment_id: int, uri: str) -> Tables:
        """The rows of one run in every table, as MLflow's client would write them."""
        record, own = row.record, {"run_uuid": run_id}
        _, params, tags = _validate_batch_log_data(
            [],
            [Param(name, str(value)) for name, value in record.params.items()],
            [RunTag(name, value) for name, value in row.tags(run_id).items()],
        )
        by_name = {tag.key: tag.value for tag in tags} | {"mlflow.runName": record.name}
        stored = [self._metric(metric) for metric in all_metrics(record)]
        latest: dict[str, Columns] = {}
        for metric in sorted(stored, key=lambda m: (m["step"], m["timestamp"], m["value"])):
            latest[metric["key"]] = metric
        run = {
            "name": record.name,
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "source_version": "",
            "user_id": by_name["mlflow.user"],
            "status": row.status,
            "start_time": record.started_ms,
            "end_time": record.ended_ms if row.status == "FINISHED" else None,
            "deleted_time": None,
            "lifecycle_stage": "active",
            "artifact_uri": uri,
            "experiment_id": experiment_id,
        }
        once = {tuple(metric.values()): metric for metric in stored}.values()
        return {
            SqlRun: [own | run],
            SqlTag: [own | {"key": key, "value": value} for key, value in by_name.items()],
            SqlParam: [own | {"key": param.key, "value": param.value} for param in params],
            SqlMetric: [own | metric for metric in once],
            SqlLatestMetric: [own | metric for metric in latest.values()],
        }

    def _metric(self, metric: Point) -> Columns:
        is_nan, value = self._sql.sanitize_metric_value(metric.value)
        return {
            "key": _checked(metric.key),
            "value": value,
            "timestamp": metric.timestamp,
            "step": metric.step,
            "is_nan": is_nan,
        }

    @cached_property
    def _sql(self) -> SqlAlchemyStore:
        """MLflow's own store behind the client."""
        return cast("SqlAlchemyStore", self.client._tracking_client.store)

    def _transaction(self, write: Callable[[Session], Answer]) -> Answer:
        """What is written in one transaction; it is tried again where the store is busy."""

        def attempt() -> Answer:
            with self._session() as session:
                return write(session)

        return self.retry(attempt)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A session of MLflow's store that is about to write; it commits at its end."""
        maker = self._sql.ManagedSessionMaker
        writes = {"read_only": False} if "read_only" in inspect.signature(maker).parameters else {}
        with maker(**writes) as session:
            if self.address.dialect == "sqlite":  # what is read first stays true until the end
                session.execute(text("begin immediate"))
            yield session


def _insert(
    session: Session,
    tables: Mapping[str, Tables],
    there: Sequence[str],
    instead_of: Collection[str],
) -> tuple[set[str], dict[str, set[str]]]:
    """Insert all rows of the runs that are not there, after the remains of these were deleted.

    Returns: the ids of runs that are there, and the files of those that were deleted, by run id.
    """
    asked: Any = (
        select(SqlRun.run_uuid, SqlRun.status, SqlRun.lifecycle_stage)
        .where(SqlRun.run_uuid.in_([*tables, *instead_of]))
        .with_for_update()
    )
    found = {run_id: (status, stage) for run_id, status, stage in session.execute(asked)}
    theirs = {
        run_id
        for run_id, (status, stage) in found.items()
        if run_id not in instead_of and status in there and stage == "active"
    }
    gone: dict[str, set[str]] = {}
    if remains := found.keys() - theirs:
        tags: Any = select(SqlTag.run_uuid, SqlTag.key, SqlTag.value).where(
            SqlTag.run_uuid.in_(remains), SqlTag.key.in_(FILE_TAGS)
        )
        for run_id, key, value in session.execute(tags):
            gone.setdefault(run_id, set()).update(files_of({key: value}))
        for model in reversed(MODELS):
            session.execute(delete(model).where(model.run_uuid.in_(remains)))
    new = [table for run_id, table in tables.items() if run_id not in theirs]
    for model in MODELS:
        rows = [row for table in new for row in table[model]]
        if rows:
            session.execute(insert(model.__table__), rows)
    return theirs, gone


def run_id_of(key: str) -> str:
    """The run id of a member or sweep follows from its key: a second write meets the first.

    A member's ends with its sample's number and begins with what all members of one algorithm
    share: so MLflow's indexes hold them side by side, and a chunk touches few pages.
    """
    group, _, sample = key.partition("-")
    digest = hashlib.sha256(group.encode()).hexdigest()
    return digest[:22] + f"{int(sample):010d}" if sample else digest[:32]


@cache
def _checked(name: str) -> str:
    """A metric's name, if MLflow takes it; raises what its client would."""
    _validate_metric(name, 0.0, 0, 0)
    return name
