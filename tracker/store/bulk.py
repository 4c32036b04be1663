"""Many runs in one transaction, for MLflow stores that are databases.

They are the rows that MLflow's client would write, through MLflow's own SQLAlchemy models and a
session of its own store, which checks the schema. The client itself needs several transactions a
run, which would take most of a sweep's time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import (
    SqlLatestMetric,
    SqlMetric,
    SqlRun,
    SqlTag,
)
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import and_, delete, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker.store.addresses import Address
from tracker.store.patience import Patience
from tracker.store.questions import finished, logged, unchanged, values_of
from tracker.store.records import (
    MEASURED_AT,
    NOTE,
    PARENT,
    VERSIONS,
    Data,
    Finished,
    Kind,
    Logged,
    Measured,
    Record,
    milliseconds,
)
from tracker.store.rows import TESTED, RunRow, Tables, added_rows, run_id_of, tables_of
from tracker.store.store import NOTHING, Store
from tracker.store.weights import FILE_TAGS, FILES, files_of
from unlearning.errors import Failure

ATTEMPTS = 20  # to write runs that other processes write too

Answer = TypeVar("Answer")


@dataclass
class _Cleared:
    """Rows that are deleted to make room: remains of deleted runs, and runs that are replaced.

    Attributes:
        whole: statuses of runs that stay. replaced: ids of runs that are deleted in any case.
        files: the files of deleted runs, by run id.
    """

    whole: tuple[str, ...]
    replaced: set[str]
    files: dict[str, set[str]] = field(default_factory=dict)

    def take_out(self, session: Session, run_ids: Iterable[str]) -> None:
        """Delete those of these runs that are not whole, and those that are replaced.

        Only rows that are found are locked and deleted: a row that another process inserts at this
        moment is not mistaken for remains.
        """
        remains = and_(
            SqlRun.run_uuid.in_(list(run_ids)),
            or_(SqlRun.status.not_in(self.whole), SqlRun.lifecycle_stage != "active"),
        )
        asked: Any = (
            select(SqlRun.run_uuid)
            .where(or_(remains, SqlRun.run_uuid.in_(self.replaced)))
            .with_for_update()
        )
        gone = list(session.scalars(asked))
        for run_id, tags in values_of(session, SqlTag, gone, FILE_TAGS).items():
            self.files[run_id] = files_of(tags)
        for model in reversed(TESTED) if gone else ():
            session.execute(delete(model).where(model.run_uuid.in_(gone)))


class SqlStore(Store):
    """A store whose runs are written in bulk.

    A run's id follows from its key, so that of two processes that write the same run only one can
    insert its row. Files are on the disk before rows and are named by their content: a finished
    run has all of its files, and no process overwrites those of another.
    """

    def __init__(
        self, address: Address, patience: Patience | None = None, store_id: str | None = None
    ) -> None:
        super().__init__(address, patience, store_id)
        self._locations: dict[str, str] = {}

    def log_base_model(self, experiment_id: str, record: Record, data: Data, note: str) -> str:
        """Write the run of a base model, unless another process just did; its run id.

        The id follows from the weights as well. The same training may come to other weights on
        another machine; that run does not replace this one, on which checkpoints depend.
        """
        run_id = run_id_of(record.key + record.tags["weights_sha256"])
        tags = {**record.tags, NOTE: note.replace("{run_id}", run_id)}
        row = RunRow(run_id, Kind.BASE_MODEL, replace(record, tags=tags), "FINISHED")
        if not self._write(experiment_id, [row]):
            self._log_input(run_id, data)
        return run_id

    def log_once(
        self,
        kind: Kind,
        experiment_id: str,
        record: Record,
        data: Data,
        ended_ms: int | None = None,
        parent: str | None = None,
    ) -> str:
        """Write a run of a kind, such as a prediction, unless it is there; its run id.

        Args:
            ended_ms: when it ended; now if None.
            parent: the id of the run whose child it is, if it is one.
        """
        run_id = run_id_of(record.key)
        ended = replace(record, ended_ms=milliseconds() if ended_ms is None else ended_ms)
        if not self._write(experiment_id, [RunRow(run_id, kind, ended, "FINISHED", parent)]):
            self._log_input(run_id, data)
        return run_id

    def begin_sweep(
        self, experiment_id: str, record: Record, data: Data, kind: Kind = Kind.SWEEP
    ) -> str:
        """A new parent run, or the one that another process has just begun; its id."""
        sweep_id = run_id_of(record.key)
        row = RunRow(sweep_id, kind, record, "RUNNING")
        self._write(experiment_id, [row], there=("RUNNING", "FINISHED", "KILLED", "FAILED"))
        self._log_input(sweep_id, data)
        return sweep_id

    def write_members(
        self,
        experiment_id: str,
        sweep_id: str,
        members: Sequence[Record],
        instead_of: Mapping[str, Finished] = NOTHING,
    ) -> list[Finished]:
        """Write a chunk of members in one transaction; what the store has of each now.

        Members that another process has written meanwhile are left as they are.
        """
        rows = [self._member(member, sweep_id, instead_of.get(member.key)) for member in members]
        before = [instead_of[m.key].run_id for m in members if m.key in instead_of]
        theirs = self._write(experiment_id, rows, instead_of=before)
        self.discard(set(before) - {row.run_id for row in rows})  # of another way of writing
        written = {
            row.run_id: Finished.of(row.run_id, row.parent or "", row.record) for row in rows
        }
        if theirs:
            others = self._ask(lambda session: finished(session, SqlRun.run_uuid.in_(theirs)))
            written |= {member.run_id: member for member in others.values()}
        return [written[row.run_id] for row in rows]

    def finished_members(self, digests: Collection[str]) -> dict[str, Finished]:
        """Members that are done, by key, of all sweeps, with any of these digests."""
        like = [SqlTag.value.like(f"{digest}-%") for digest in digests]
        return self._ask(lambda session: finished(session, or_(*like)))

    def logged(self, run_ids: Sequence[str], histories: Sequence[str]) -> list[Logged]:
        """All that is logged of these members, in order, with the histories of those names."""
        return self._ask(lambda session: logged(session, run_ids, histories))

    def add_factors(self, members: Sequence[Measured]) -> int:
        """Write factors onto members in one transaction; of how many."""
        return self.patience(lambda: self._added(members))

    def _added(self, members: Sequence[Measured]) -> int:
        now, names = milliseconds(), {name for member in members for name in member.metrics}
        with self._session() as session:
            there = unchanged(session, members)
            told = values_of(session, SqlTag, there, (VERSIONS,))
            tables = [
                added_rows(self._sql, m, told.get(m.run_id, {}).get(VERSIONS, ""), now)
                for m in members
                if m.run_id in there
            ]
            for model in (SqlMetric, SqlLatestMetric, SqlTag):
                keys = names if model is not SqlTag else (VERSIONS, MEASURED_AT)
                old = and_(model.run_uuid.in_(there), model.key.in_(keys))
                session.execute(delete(model).where(old))
                rows = [row for table in tables for row in table[model]]
                if rows:
                    session.execute(insert(model.__table__), rows)
        return len(there)

    def retag(self, sweep_id: str, name: str, values: Mapping[str, str]) -> None:
        """Give child runs of a sweep a tag, by their ids, and take it from all others."""
        children: Any = select(SqlTag.run_uuid).where(
            SqlTag.key == PARENT, SqlTag.value == sweep_id
        )
        rows = [{"run_uuid": run_id, "key": name, "value": v} for run_id, v in values.items()]

        def attempt() -> None:
            with self._session() as session:
                session.execute(
                    delete(SqlTag).where(SqlTag.key == name, SqlTag.run_uuid.in_(children))
                )
                if rows:
                    session.execute(insert(SqlTag.__table__), rows)

        self.patience(attempt)

    # How rows are written

    def _member(self, record: Record, sweep_id: str, before: Finished | None) -> RunRow:
        """The row of a member: a child of the sweep, or of that of the run that it replaces."""
        parent = before.sweep_id if before else sweep_id
        return RunRow(run_id_of(record.key), Kind.MEMBER, record, "FINISHED", parent)

    def _write(
        self,
        experiment_id: str,
        rows: Sequence[RunRow],
        there: Sequence[str] = ("FINISHED",),
        instead_of: Collection[str] = (),
    ) -> set[str]:
        """Write rows in one transaction; the ids of those that another process had written.

        Args:
            there: statuses of runs that count as written; other remains are taken out.
            instead_of: runs that are taken out, whatever their status.
        """
        location = self._location(experiment_id)
        for row in rows:
            self.artifacts.write(f"{location}/{row.run_id}/artifacts", row.record.artifacts)
        tables = {row.run_id: tables_of(self._sql, row, experiment_id, location) for row in rows}
        cleared = _Cleared(tuple(there), set(instead_of))
        for attempt in range(ATTEMPTS):
            if self._settled(tables, cleared if instead_of or attempt else None):
                break
            for run_id in self._there(tables, there):
                del tables[run_id]
        else:
            raise Failure(f"other processes write the same runs into {self.address.shown}")
        theirs = {row.run_id: set(row.record.artifacts) for row in rows if row.run_id not in tables}
        self._let_go(location, cleared.files | theirs)
        return set(theirs)

    def _location(self, experiment_id: str) -> str:
        """Where an experiment has its artifacts."""
        if experiment_id not in self._locations:
            experiment = self.client.get_experiment(experiment_id)
            self._locations[experiment_id] = experiment.artifact_location.rstrip("/")
        return self._locations[experiment_id]

    def _let_go(self, location: str, files: Mapping[str, set[str]]) -> None:
        """Delete weights and checkpoints of runs, but for those that their rows tell of now."""
        if any(files.values()):
            tags = self._ask(lambda session: values_of(session, SqlTag, files, FILE_TAGS))
            for run_id, names in files.items():
                there = files_of(tags.get(run_id, {}))
                for name in filter(FILES.fullmatch, names - there):
                    self.artifacts.delete(f"{location}/{run_id}/artifacts", name)

    def _there(self, run_ids: Collection[str], statuses: Sequence[str]) -> set[str]:
        """Which of these runs are in the store."""
        whole: Any = (
            select(SqlRun.run_uuid)
            .where(SqlRun.run_uuid.in_(run_ids))
            .where(SqlRun.status.in_(statuses), SqlRun.lifecycle_stage == "active")
        )
        return self._ask(lambda session: set(session.scalars(whole)))

    def _settled(self, tables: Mapping[str, Tables], cleared: _Cleared | None) -> bool:
        """Whether all rows were inserted; not if another process was first. Waits for the store."""
        return self.patience(lambda: self._inserted(tables, cleared))

    def _inserted(self, tables: Mapping[str, Tables], cleared: _Cleared | None) -> bool:
        """Delete what is in the way and insert all rows, in one transaction."""
        try:
            with self._session() as session:
                if cleared:
                    cleared.take_out(session, tables)
                for model in TESTED:
                    rows = [row for table in tables.values() for row in table[model]]
                    if rows:
                        session.execute(insert(model.__table__), rows)
        except MlflowException as error:
            if isinstance(error.__cause__, IntegrityError):
                return False
            raise
        return True

    def _ask(self, question: Callable[[Session], Answer]) -> Answer:
        """The answer of the database to a question. Waits for the store."""

        def attempt() -> Answer:
            with self._session() as session:
                return question(session)

        return self.patience(attempt)

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
