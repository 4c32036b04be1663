"""Many runs in one transaction, for MLflow stores that are databases.

The rows go through MLflow's own SQLAlchemy models and its store's own session, so MLflow's check of
the schema stays in force; they are the rows that its client would write. The client takes several
transactions a run, and most of a sweep's time.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import (
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.validation import _validate_batch_log_data, _validate_metric
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from indelible.errors import Failure
from indelible.tracker.records import AVERAGED, Finished, Kind, Record
from indelible.tracker.store import Data, Store, all_metrics, all_tags

PATIENCE_S = 120.0  # how long another writer may hold the database

Row = dict[str, Any]

# The schema that the writer was tested with (MLflow 3.2 to 3.17): the columns of its tables.
TESTED: dict[Any, set[str]] = {
    SqlRun: {
        *("run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id"),
        *("status", "start_time", "end_time", "deleted_time", "source_version"),
        *("lifecycle_stage", "artifact_uri", "experiment_id"),
    },
    SqlTag: {"key", "value", "run_uuid"},
    SqlParam: {"key", "value", "run_uuid"},
    SqlMetric: {"key", "value", "timestamp", "step", "is_nan", "run_uuid"},
    SqlLatestMetric: {"key", "value", "timestamp", "step", "is_nan", "run_uuid"},
}


def run_id_of(key: str) -> str:
    """The run id of a member or sweep follows from its key: a second write meets the first.

    A member's ends with its sample's number and begins with what all members of one algorithm
    share: so MLflow's indexes hold them side by side, and a chunk touches few pages.
    """
    group, _, sample = key.partition("-")
    digest = hashlib.sha256(group.encode()).hexdigest()
    return digest[:22] + f"{int(sample):010d}" if sample else digest[:32]


def untested_schema() -> str | None:
    """What differs between MLflow's tables and those the writer was tested with, if anything."""
    for model, columns in TESTED.items():
        found = set(model.__table__.columns.keys())
        if found != columns:
            return f"table {model.__tablename__}: {', '.join(sorted(found ^ columns))}"
    return None


@dataclass(frozen=True)
class _Row:
    """One run to write."""

    run_id: str
    kind: Kind
    record: Record
    status: str
    parent: str | None = None


class SqlStore(Store):
    """A store whose runs are written in bulk."""

    def __init__(self, folder: Path, tracking_uri: str | None = None) -> None:
        super().__init__(folder, tracking_uri)
        self._locations: dict[str, str] = {}

    def begin_sweep(self, experiment_id: str, record: Record, data: Data) -> str:
        """A new parent run, or the one that another process has just begun; its id."""
        sweep_id = run_id_of(record.key)
        row = _Row(sweep_id, Kind.SWEEP, record, "RUNNING")
        self._write(experiment_id, [row], there=("RUNNING", "FINISHED", "KILLED", "FAILED"))
        self._log_input(sweep_id, data)
        return sweep_id

    def resume_sweep(self, experiment_id: str, sweep: Run) -> str:
        """Go on with a parent run; its id. No child run is ever half written."""
        return self._reopen(sweep)

    def write_members(
        self, experiment_id: str, sweep_id: str, members: Sequence[Record]
    ) -> list[str]:
        """Write a chunk of members in one transaction; their run ids.

        Members that another process has written meanwhile are left as they are.
        """
        rows = [
            _Row(run_id_of(member.key), Kind.MEMBER, member, "FINISHED", sweep_id)
            for member in members
        ]
        self._write(experiment_id, rows)
        return [row.run_id for row in rows]

    def finished_members(self, digests: Iterable[str]) -> dict[str, Finished]:
        """Members that are done, by key, of all sweeps, with any of these digests."""
        done: dict[str, Finished] = {}
        with self._session() as session:
            for digest in digests:
                runs: Any = (
                    select(SqlRun.run_uuid, SqlTag.value)
                    .join(SqlTag, SqlTag.run_uuid == SqlRun.run_uuid)
                    .where(SqlTag.key == "key", SqlTag.value.like(f"{digest}-%"))
                    .where(SqlRun.status == "FINISHED", SqlRun.lifecycle_stage == "active")
                )
                keys = {row.run_uuid: row.value for row in session.execute(runs)}
                tags = _of(session, SqlTag, keys, ("status", "checkpoint"))
                metrics = _of(session, SqlLatestMetric, keys, AVERAGED.values())
                for run_id, key in keys.items():
                    done[key] = Finished(
                        run_id,
                        tags[run_id]["status"],
                        metrics.get(run_id, {}),
                        "checkpoint" in tags[run_id],
                    )
        return done

    # How rows are written

    def _write(
        self, experiment_id: str, rows: Sequence[_Row], there: Sequence[str] = ("FINISHED",)
    ) -> None:
        """Write rows; a run that is in the store already, with one of these statuses, stays."""
        location = self._location(experiment_id)
        for row in rows:
            self._put(f"{location}/{row.run_id}/artifacts", row.record.artifacts)
        tables = [_tables(self._sql, row, experiment_id, location) for row in rows]
        try:
            self._insert(tables)
        except IntegrityError:
            self._insert(self._without_those(there, tables))

    def _location(self, experiment_id: str) -> str:
        """Where an experiment has its artifacts."""
        if experiment_id not in self._locations:
            experiment = self.client.get_experiment(experiment_id)
            self._locations[experiment_id] = experiment.artifact_location.rstrip("/")
        return self._locations[experiment_id]

    def _put(self, uri: str, artifacts: Mapping[str, bytes]) -> None:
        """Artifacts before the transaction, and on the disk: a finished run has them."""
        parts = urlsplit(uri)
        if parts.scheme not in ("", "file"):
            self._log_artifacts(uri, artifacts)
            return
        folder = Path(unquote(parts.path))
        for name, content in artifacts.items():
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    def _without_those(
        self, there: Sequence[str], tables: list[dict[Any, list[Row]]]
    ) -> list[dict[Any, list[Row]]]:
        """Those rows whose run is not in the store; what is left of deleted runs is taken out."""
        ids = [table[SqlRun][0]["run_uuid"] for table in tables]
        with self._session() as session:
            whole: Any = (
                select(SqlRun.run_uuid)
                .where(SqlRun.run_uuid.in_(ids))
                .where(SqlRun.status.in_(there), SqlRun.lifecycle_stage == "active")
            )
            found = set(session.scalars(whole))
            remains = [run_id for run_id in ids if run_id not in found]
            for model in (SqlLatestMetric, SqlMetric, SqlParam, SqlTag, SqlRun):
                session.execute(delete(model).where(model.run_uuid.in_(remains)))
        return [table for table in tables if table[SqlRun][0]["run_uuid"] not in found]

    def _insert(self, tables: list[dict[Any, list[Row]]]) -> None:
        """All rows in one transaction, again and again while another writer holds the database."""
        deadline, pause = time.monotonic() + PATIENCE_S, 0.05
        while not self._inserted(tables):
            if time.monotonic() > deadline:
                raise Failure(f"another process held the database for {PATIENCE_S:.0f} s")
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - not for secrets
            pause = min(2 * pause, 2.0)

    def _inserted(self, tables: list[dict[Any, list[Row]]]) -> bool:
        """Whether all rows went in; not where another writer held the database."""
        try:
            with self._session() as session:
                for model in TESTED:
                    rows = [row for table in tables for row in table[model]]
                    if rows:
                        session.execute(insert(model.__table__), rows)
        except MlflowException as error:
            cause = error.__cause__
            if isinstance(cause, IntegrityError):
                raise cause from None
            if isinstance(cause, OperationalError) and "lock" in str(cause):
                return False
            raise
        return True

    @property
    def _sql(self) -> SqlAlchemyStore:
        """MLflow's own store behind the client."""
        return cast("SqlAlchemyStore", self.client._tracking_client.store)

    def _session(self) -> AbstractContextManager[Session]:
        """A session of MLflow's store, which commits at its end."""
        maker = self._sql.ManagedSessionMaker
        writes = {"read_only": False} if "read_only" in inspect.signature(maker).parameters else {}
        session: AbstractContextManager[Session] = maker(**writes)
        return session


def _tables(
    store: SqlAlchemyStore, row: _Row, experiment_id: str, location: str
) -> dict[Any, list[Row]]:
    """The rows of one run in every table, as MLflow's client would write them."""
    record, run_id = row.record, row.run_id
    _, params, tags = _validate_batch_log_data(
        [],
        [Param(name, str(value)) for name, value in record.params.items()],
        [RunTag(name, value) for name, value in all_tags(row.kind, record, row.parent).items()],
    )
    by_name = {tag.key: tag.value for tag in tags} | {"mlflow.runName": record.name}
    stored = [_metric(store, metric) for metric in all_metrics(record)]
    latest: dict[str, Row] = {}
    for metric in sorted(stored, key=lambda m: (m["step"], m["timestamp"], m["value"])):
        latest[metric["key"]] = metric
    own = {"run_uuid": run_id}
    return {
        SqlRun: [
            own
            | {
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
                "artifact_uri": f"{location}/{run_id}/artifacts",
                "experiment_id": int(experiment_id),
            }
        ],
        SqlTag: [own | {"key": key, "value": value} for key, value in by_name.items()],
        SqlParam: [own | {"key": param.key, "value": param.value} for param in params],
        SqlMetric: [own | dict(m) for m in {tuple(sorted(m.items())): m for m in stored}.values()],
        SqlLatestMetric: [own | metric for metric in latest.values()],
    }


@cache
def _checked(name: str) -> str:
    """A metric's name, if MLflow takes it; raises what its client would."""
    _validate_metric(name, 0.0, 0, 0)
    return name


def _metric(store: SqlAlchemyStore, metric: Metric) -> Row:
    is_nan, value = store.sanitize_metric_value(metric.value)
    return {
        "key": _checked(metric.key),
        "value": value,
        "timestamp": metric.timestamp,
        "step": metric.step,
        "is_nan": is_nan,
    }


def _of(
    session: Session, model: Any, run_ids: Iterable[str], names: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Values of these names by run: of all runs of the table, narrowed here to those asked for."""
    wanted = set(run_ids)
    found: dict[str, dict[str, Any]] = {}
    query = select(model.run_uuid, model.key, model.value).where(model.key.in_(names))
    for run_id, key, value in session.execute(query):
        if run_id in wanted:
            found.setdefault(run_id, {})[key] = value
    return found
