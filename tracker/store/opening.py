"""The ways into a store: to write into it, and to read from it.

Before MLflow opens a database it is looked at by plain SQL: whether it is there at all, whether it
belongs to the folder, whether it was moved, and whether this MLflow and its schema fit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import inspect, select, text

from analysis.atomic import make_folder, written_atomically
from tracker.store import identity, queries
from tracker.store.addresses import Address, sqlite_uri, without_password
from tracker.store.files import local_path
from tracker.store.read import ClientReader, Reader
from tracker.store.retry import LIMIT_S, Retry
from tracker.store.settings import settle_mlflow
from unlearning.errors import UserError

if TYPE_CHECKING:
    from tracker.store.write import Store

Say = Callable[[str], None]


class Contents(NamedTuple):
    """What is in a database.

    Attributes:
        revision: of MLflow's schema; None where MLflow has not made its tables yet.
        experiments: of this tool, in the order in which they were made.
    """

    revision: str | None = None
    experiments: tuple[identity.Experiment, ...] = ()


def open_reader(
    folder: Path,
    tracking_uri: str | None = None,
    say: Say = lambda line: None,
    limit_s: float = LIMIT_S,
) -> Reader:
    """The store of a tracking URI, or the folder's own, to read from. Nothing is made.

    Args:
        say: is told, a line each, what is waited for or was found. limit_s: how long a store that
            does not answer is waited for.

    Raises UserError where there is no store, or another than the folder's.
    """
    address = Address.of(folder, tracking_uri).with_timeouts(min(limit_s, 10))
    retry = Retry(address.shown, limit_s, say)
    if address.is_server:
        return ClientReader(_server(address, retry))
    _settled(address, retry, begins=False)
    return Reader(address, retry)


def open_store(
    folder: Path,
    tracking_uri: str | None = None,
    say: Say = lambda line: None,
    limit_s: float = LIMIT_S,
    begins: bool = True,
) -> Store:
    """The store to write into, in bulk if it is a database.

    Args as of `open_reader`; `begins` says whether a store may come into being by it.

    Raises UserError also where the folder cannot be written, or where the database's schema is
    not the one of the MLflow that is installed.
    """
    address = Address.of(folder, tracking_uri).with_timeouts(min(limit_s, 10))
    retry = Retry(address.shown, limit_s, say)
    if begins:
        make_folder(address.folder)
    store = _server(address, retry) if address.is_server else _database(address, retry, begins)
    if store.experiments():
        store.claim()
    return store


def look(address: Address, retry: Retry) -> Contents:
    """What a database holds; nothing where there is none yet.

    Raises UserError without a driver for it, Failure where it cannot be reached or is damaged.
    """

    def attempt() -> Contents:
        with queries.opened(address) as connection:
            tables = inspect(connection).get_table_names()
            if not {"alembic_version", "experiments"} <= {*tables}:
                return Contents()
            revision = text("select version_num from alembic_version")
            every = select(queries.EXPERIMENTS).order_by("experiment_id")
            columns = queries.fetched(connection, every)
            experiments = (identity.Experiment(*row) for _, *row in zip(*columns, strict=True))
            return Contents(connection.scalar(revision), tuple(experiments))

    if address.file is not None and not address.file.exists():
        return Contents()
    return retry(attempt)


def _server(address: Address, retry: Retry) -> Store:
    from mlflow.entities import ViewType

    from tracker.store.write import Store

    store = Store(address, retry)
    experiments = [
        identity.Experiment(e.artifact_location, e.tags.get(identity.TAG))
        for e in store.experiments(view_type=ViewType.ALL)
    ]
    store.store_id = identity.verify(address, experiments)
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
        before = ", ".join(str(path.parent) for root in roots if (path := local_path(root)))
        retry.say(f"the store in {address.folder} was in {before}: its database knows it now")
    return contents.revision, store_id


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
        settle_mlflow()
        SqlAlchemyStore(sqlite_uri(draft), DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()
