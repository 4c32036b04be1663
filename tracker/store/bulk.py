"""Many runs in one transaction, for MLflow stores that are databases.

They are the rows that MLflow's client would write, through MLflow's own SQLAlchemy models and a
session of its own store, which checks the schema. The client itself needs several transactions a
run, which would take most of a sweep's time.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import current_thread, main_thread
from typing import Any, TypeVar, cast

from mlflow.entities import Metric, Param, RunTag
from mlflow.store.tracking.dbmodels.models import (
    SqlInput,
    SqlInputTag,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.validation import _validate_batch_log_data
from sqlalchemy import and_, delete, insert, select, text
from sqlalchemy.orm import Session

from tracker.store.read import Reader
from tracker.store.records import PARENT, Kind, Record, Run, all_metrics, milliseconds
from tracker.store.weights import FILE_TAGS, files_of
from tracker.store.write import BEGUN, CONTEXT, WHOLE, Change, Store, own_tags

ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
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
        self, experiment_id: str, records: Sequence[Record], status: str = "FINISHED"
    ) -> list[tuple[str, bool]]:
        """Write runs in one transaction; their ids, and whether they are new."""
        experiment = self.client.get_experiment(experiment_id)
        uri = f"{experiment.artifact_location.rstrip('/')}/{{}}/artifacts".format
        runs = {run_id_of(_full_key(record)): record for record in records}
        tables = {}
        for run_id, record in runs.items():
            self.artifacts.write(uri(run_id), record.artifacts)
            tables[run_id] = self._tables(run_id, record, status, int(experiment_id), uri(run_id))
        there = BEGUN if status == "RUNNING" else WHOLE
        parents = {i: r.tags[PARENT] for i, r in runs.items() if PARENT in r.tags}

        def write(session: Session) -> tuple[set[str], dict[str, set[str]]]:
            written = _insert(session, tables, there)
            _share_inputs(session, parents)
            return written

        theirs, gone = self._transaction(write)
        for run in self.reader.some(run_ids=[*theirs]) if theirs else ():
            gone[run.run_id] = files_of(runs[run.run_id].tags) - files_of(run.tags)
        for run_id, names in gone.items():
            kept = set() if run_id in theirs else files_of(runs[run_id].tags)
            for name in names - kept:
                self.artifacts.delete(uri(run_id), name)
        return [(run_id, run_id not in theirs) for run_id in runs]

    def _change(self, changes: Mapping[str, Change], before: Mapping[str, Run]) -> None:
        """Write metrics and tags onto runs in one transaction, in place of those of their names."""
        now, tags, metrics = milliseconds(), list[Columns](), list[Columns]()
        for run_id, (values, texts) in changes.items():
            own = {"run_uuid": run_id}
            tags += [own | {"key": name, "value": value} for name, value in texts.items()]
            points = [Metric(name, v, now, 0) for name, v in values.items() if v == v]
            metrics += [own | self._metric(point) for point in points]
        tables: Tables = {SqlMetric: metrics, SqlLatestMetric: metrics, SqlTag: tags}
        names = [{name for change in changes.values() for name in change[i]} for i in (0, 1)]

        def replace(session: Session) -> None:
            for model, rows in tables.items():
                keys = names[1] if model is SqlTag else names[0]
                same = and_(model.run_uuid.in_([*changes]), model.key.in_(keys))
                session.execute(delete(model).where(same))
                if rows:
                    session.execute(insert(model.__table__), rows)

        self._transaction(replace)

    def _tables(
        self, run_id: str, record: Record, status: str, experiment_id: int, uri: str
    ) -> Tables:
        """The rows of one run in every table, as MLflow's client would write them."""
        metrics = [Metric(*point) for point in all_metrics(record)]
        _, params, tags = _validate_batch_log_data(
            [*{metric.key: metric for metric in metrics}.values()],  # a name has many points
            [Param(name, str(value)) for name, value in record.params.items()],
            [RunTag(name, value) for name, value in own_tags(run_id, record).items()],
        )
        by_name = {tag.key: tag.value for tag in tags} | {"mlflow.runName": record.name}
        stored = [self._metric(metric) for metric in metrics]
        in_time = sorted(stored, key=lambda m: (m["step"], m["timestamp"], m["value"]))
        # The last of each, in the order of the record: MLflow's pages show them in the rows' order.
        latest = {metric["key"]: metric for metric in (*stored, *in_time)}
        run = {
            "name": record.name,
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "source_version": "",
            "user_id": by_name["mlflow.user"],
            "status": status,
            "start_time": record.started_ms,
            "end_time": record.ended_ms if status == "FINISHED" else None,
            "deleted_time": None,
            "lifecycle_stage": "active",
            "artifact_uri": uri,
            "experiment_id": experiment_id,
        }
        rows = {
            SqlRun: [run],
            SqlTag: [{"key": key, "value": value} for key, value in by_name.items()],
            SqlParam: [{"key": param.key, "value": param.value} for param in params],
            SqlMetric: {tuple(metric.values()): metric for metric in stored}.values(),
            SqlLatestMetric: latest.values(),
        }
        return {model: [{"run_uuid": run_id, **row} for row in rows[model]] for model in MODELS}

    def _metric(self, metric: Metric) -> Columns:
        is_nan, value = self._sql.sanitize_metric_value(metric.value)
        at, step = metric.timestamp, metric.step
        return {"key": metric.key, "value": value, "timestamp": at, "step": step, "is_nan": is_nan}

    @cached_property
    def _sql(self) -> SqlAlchemyStore:
        """MLflow's own store behind the client."""
        return cast("SqlAlchemyStore", self.client._tracking_client.store)

    def _transaction(self, write: Callable[[Session], Answer]) -> Answer:
        """What is written in one transaction; it is tried again where the store is busy."""

        def attempt() -> Answer:
            with _uninterrupted(), self._sql.ManagedSessionMaker() as session:
                if self.address.dialect == "sqlite":  # what is read first stays true until the end
                    session.execute(text("begin immediate"))
                return write(session)

        return self.retry(attempt)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Have signals that end the process wait for the end of the block.

    In its middle, what they raise in the main thread could leave a transaction open, and the store
    locked.
    """
    came: list[int] = []
    numbers = ENDING if current_thread() is main_thread() else ()
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _insert(
    session: Session, tables: Mapping[str, Tables], there: Sequence[str]
) -> tuple[set[str], dict[str, set[str]]]:
    """Insert all rows of the runs that are not `there`, after the remains of these were deleted.

    Returns: the ids of runs that are there, and the files of those that were deleted, by run id.
    """
    asked: Any = select(SqlRun.run_uuid, SqlRun.status, SqlRun.lifecycle_stage)
    asked = asked.where(SqlRun.run_uuid.in_([*tables])).with_for_update()
    found = {run_id: (status, stage) for run_id, status, stage in session.execute(asked)}
    theirs = {
        run_id for run_id, (status, stage) in found.items() if status in there and stage == "active"
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
    new = [run_id for run_id in tables if run_id not in theirs]
    for model in MODELS:
        rows = [row for run_id in new for row in tables[run_id][model]]
        if rows:
            session.execute(insert(model.__table__), rows)
    return theirs, gone


def _share_inputs(session: Session, parents: Mapping[str, str]) -> None:
    """Give runs that have no data set as an input that of their parent runs, by the runs' ids."""
    to: Any = SqlInput.destination_id
    asked = select(to, SqlInput.source_id).where(to.in_(parents.values()))
    sources: dict[str, str] = dict(session.execute(asked).all())
    there = {*session.scalars(select(to).where(to.in_([*parents])))}
    rows = [
        {"input_uuid": run_id, "destination_type": "RUN", "destination_id": run_id}
        | {"source_type": "DATASET", "source_id": sources[parent]}
        for run_id, parent in parents.items()
        if run_id not in there and parent in sources
    ]
    tag = {"name": CONTEXT.key, "value": CONTEXT.value}
    if rows:
        session.execute(insert(SqlInput.__table__), rows)
        session.execute(
            insert(SqlInputTag.__table__), [tag | {"input_uuid": r["input_uuid"]} for r in rows]
        )


def run_id_of(key: str) -> str:
    """The run id of a member or sweep follows from its key: a second write meets the first.

    A member's ends with its sample's number and begins with what all members of one algorithm
    share: so MLflow's indexes hold them side by side, and a chunk touches few pages.
    """
    group, _, sample = key.partition("-")
    digest = hashlib.sha256(group.encode()).hexdigest()
    return digest[:22] + f"{int(sample):010d}" if sample else digest[:32]


def _full_key(record: Record) -> str:
    """The key, and of a base model its weights too.

    The same training may come to other weights on another machine; that run does not replace this
    one, on which checkpoints depend.
    """
    is_base = record.tags["kind"] == Kind.BASE_MODEL
    return record.key + (record.tags["weights_sha256"] if is_base else "")
