"""The schema of MLflow's database: the one of the installed MLflow, and the upgrade to it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from mlflow.store.db.utils import _get_alembic_config, _upgrade_db, create_sqlalchemy_engine
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from analysis.drafts import draft_of
from tracker.store.addresses import Address, sqlite_uri

WAIT_S = 600.0  # for another process that brings a database up to date


def latest_revision(revision: str | None) -> tuple[str, bool]:
    """The schema of the installed MLflow, and whether it knows the `revision` of a database."""
    scripts = ScriptDirectory.from_config(_get_alembic_config(""))
    (latest,) = scripts.get_heads()
    try:
        known = revision is not None and scripts.get_revision(revision) is not None
    except CommandError:
        known = False
    return latest, known


def begin(address: Address) -> None:
    """Make the database of a store that is a file, whole or not at all.

    Of two processes at it the one that is done first stays. An embedded store is in write-ahead
    mode, in which readers and a writer do not wait for each other.
    """
    if address.file is None or address.file.exists():
        return  # an empty one, which MLflow fills
    with draft_of(address.file, f"the database {address.file}", replace=False) as draft:
        if address.is_embedded:
            with closing(sqlite3.connect(draft)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
        with _quietly():
            store = SqlAlchemyStore(sqlite_uri(draft), DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
        store.engine.dispose()


def upgrade(address: Address) -> Path | None:
    """Bring a SQLite file up to date, after a copy of it was made; the copy's path.

    None where another process has done it meanwhile, which is waited for.
    """
    assert address.file is not None
    with _alone_at(address.file), closing(sqlite3.connect(address.file)) as present:
        ((revision,),) = present.execute("select version_num from alembic_version")
        if revision == latest_revision(revision)[0]:
            return None
        backup = address.file.with_name(f"{address.file.name}.{revision}")
        with closing(sqlite3.connect(backup)) as copy:
            present.backup(copy)
        engine = create_sqlalchemy_engine(address.uri)
        try:
            with _quietly():
                _upgrade_db(engine)
        finally:
            engine.dispose()
        return backup


@contextmanager
def _alone_at(file: Path) -> Iterator[None]:
    """A context in which one process at a time is: SQLite locks an empty file, which stays."""
    lock = file.with_name(f".{file.name}.lock")
    with closing(sqlite3.connect(lock, timeout=WAIT_S, isolation_level=None)) as connection:
        connection.execute("begin exclusive")
        yield


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the lines in which MLflow tells of each step."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.INFO))
    try:
        yield
    finally:
        logging.disable(before)
