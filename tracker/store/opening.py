"""The ways into a store: to write into it, and to read from it.

Before MLflow opens a database it is looked at by plain SQL: whether it is there at all, whether it
belongs to the folder, whether it was moved, and whether this MLflow and its schema fit.
"""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy

from analysis.atomic import written_atomically
from tracker.store import identity, queries
from tracker.store.addresses import Address, sqlite_uri, without_password
from tracker.store.database import opened
from tracker.store.files import local_path
from tracker.store.read import ClientReader, Reader
from tracker.store.retry import LIMIT_S, Retry
from unlearning.errors import UserError

if TYPE_CHECKING:
    from tracker.store.write import Store

Say = Callable[[str], None]


@dataclass(frozen=True)
class Contents:
    """What is in a database.

    Attributes:
        revision: of MLflow's schema; None where MLflow has not made its tables yet.
        experiments: of this tool, in the order in which they were made.
    """

    revision: str | None = None
    experiments: tuple[identity.Experiment, ...] = ()


def quietly(line: str) -> None:
    """Say nothing."""


def open_reader(
    folder: Path,
    tracking_uri: str | None = None,
    say: Say = quietly,
    limit_s: float = LIMIT_S,
) -> Reader:
    """The store of a tracking URI, or the folder's own, to read from. Nothing is made.

    Args:
        say: is told, a line each, what is waited for or was found. limit_s: how long a store that
            does not answer is waited for.

    Raises UserError where there is no store, or another than the folder's.
    """
    address, retry = _address(folder, tracking_uri, say, limit_s)
    if address.is_server:
        return ClientReader(_server(address, retry))
    _settled(address, retry, begins=False)
    return Reader(address, retry)


def open_store(
    folder: Path,
    tracking_uri: str | None = None,
    say: Say = quietly,
    limit_s: float = LIMIT_S,
    begins: bool = True,
) -> Store:
    """The store to write into, in bulk if it is a database.

    Args as of `open_reader`; `begins` says whether a store may come into being by it.

    Raises UserError also where the folder cannot be written, or where the database's schema is
    not the one of the MLflow that is installed.
    """
    address, retry = _address(folder, tracking_uri, say, limit_s)
    if begins:
        _make(address.folder)
    store = _server(address, retry) if address.is_server else _database(address, retry, begins)
    if known := store.experiments():
        _make(address.folder)  # of a server's store it may be new on this machine
        store.claim(known)
    return store


def look(address: Address, retry: Retry) -> Contents:
    """What a database holds; nothing where there is none yet.

    Raises UserError without a driver for it, Failure where it cannot be reached or is damaged.
    """

    def attempt() -> Contents:
        with opened(address) as connection:
            tables = sqlalchemy.inspect(connection).get_table_names()
            if not {"alembic_version", "experiments"} <= {*tables}:
                return Contents()
            ((revision,),) = queries.fetched(connection, queries.revision())
            rows = queries.fetched(connection, queries.experiments(identity.TAG))
            return Contents(revision, tuple(identity.Experiment(*row) for row in rows))

    if address.file is not None and not address.file.exists():
        return Contents()
    return retry(attempt)


def _address(
    folder: Path, tracking_uri: str | None, say: Say, limit_s: float
) -> tuple[Address, Retry]:
    address = Address.of(folder, tracking_uri).with_timeouts(min(limit_s, 10))
    return address, Retry(address.shown, limit_s, say)


def _server(address: Address, retry: Retry) -> Store:
    from tracker.store.write import Store

    store = Store(address, retry)
    store.store_id = identity.verify(address, store.identities())
    return store


def _database(address: Address, retry: Retry, begins: bool) -> Store:
    from mlflow import __version__ as version
    from mlflow.store.db.utils import _get_latest_schema_revision

    from tracker.store.bulk import SqlStore

    revision, store_id = _settled(address, retry, begins)
    if address.is_read_only:
        raise UserError(f"the database {address.file} is in a folder that cannot be written")
    latest = _get_latest_schema_revision()
    if revision not in (None, latest):
        uri = address.uri.replace("sqlite+pysqlite:", "sqlite:", 1)
        raise UserError(
            f"{address.shown} has the schema {revision}, MLflow {version} here has "
            f"{latest}: of an older MLflow's database make a copy and run 'mlflow db upgrade "
            f"{without_password(uri)}'; for a newer one's install that MLflow here"
        )
    if revision is None:
        retry.say(f"setting up a store in {address.folder} ...")
        _begin(address)
    return SqlStore(address, retry, store_id)


def _settled(address: Address, retry: Retry, begins: bool) -> tuple[str | None, str | None]:
    """The revision of a database's schema, and the store's id; None before there are any.

    The database of a store that was moved is told where its artifacts are.
    """
    contents = look(address, retry)
    if contents.revision is None and not begins:
        where = address.folder if address.is_embedded else address.shown
        raise UserError(
            f"there is no store in {where}: 'indelible train' begins one, or 'indelible demo'"
        )
    store_id = identity.verify(address, contents.experiments)
    roots = identity.moved(address, contents.experiments)
    if roots and not address.is_read_only:
        identity.repoint(address, roots)
        identity.claim(address.folder, store_id)
        paths = [(root, local_path(root)) for root in roots]
        before = ", ".join(str(path.parent) if path else root for root, path in paths)
        retry.say(f"the store in {address.folder} was in {before}: its database knows it now")
    return contents.revision, store_id


def _make(folder: Path) -> None:
    """Make the folder of a store, or say why it cannot be one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"the store '{folder}' cannot be written ({error.strerror}): "
            "name a folder that can with --store DIR"
        ) from error


def _begin(address: Address) -> None:
    """Make the database of a store that is a file, whole or not at all.

    Of two processes at it the one that is done first stays. An embedded store is in write-ahead
    mode, in which readers and a writer do not wait for each other.
    """
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if address.file is None or address.file.exists():
        return  # an empty one, which MLflow fills
    with written_atomically(address.file, f"the database {address.file}", replace=False) as draft:
        if address.is_embedded:
            with closing(sqlite3.connect(draft)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
        with quiet_migrations():
            store = SqlAlchemyStore(sqlite_uri(draft), DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
        store.engine.dispose()


@contextmanager
def quiet_migrations() -> Iterator[None]:
    """Without the lines in which MLflow tells of each step by which it makes a database."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.INFO))
    try:
        yield
    finally:
        logging.disable(before)
