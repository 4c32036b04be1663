"""What an MLflow database holds, read by plain SQL before MLflow opens, and migrates, it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tracker.access.addresses import Address
from tracker.access.identity import TAG, Experiment
from tracker.access.patience import Patience
from unlearning.errors import Failure, UserError

if TYPE_CHECKING:
    import sqlalchemy

SQL = Path(__file__).parent / "sql"  # for SQLite and PostgreSQL alike
BACKUP = "put a backup in its place, and delete the files -wal and -shm beside it"

# What SQLite says on a disk that is full or broken; the file itself may be whole.
NO_ROOM = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)

Rows = list[tuple[Any, ...]]


class Asking(Protocol):
    """An open database."""

    def tables(self) -> set[str]:
        """The names of its tables."""

    def rows(self, name: str, **values: str) -> Rows:
        """The rows of the query `sql/<name>.sql` with its values bound."""


@dataclass(frozen=True)
class Contents:
    """What is in a database.

    Attributes:
        revision: of MLflow's schema; None where MLflow has not made its tables yet.
        experiments: of this tool, in the order in which they were made.
    """

    revision: str | None = None
    experiments: tuple[Experiment, ...] = ()


def look(address: Address, patience: Patience) -> Contents:
    """What the database holds; nothing where there is none yet.

    Raises UserError without a driver for it, Failure where it cannot be reached or is damaged.
    """
    if address.file is not None and not address.file.exists():
        return Contents()
    return patience(lambda: _look(address))


def another_database(server: Address, database: Address, why: str) -> UserError:
    """The error that says that a database is not the one behind a server."""
    return UserError(
        f"{database.shown} is not the database of the server {server.shown}: {why}. Give "
        "--bulk-uri the database that the server was started with, or leave it out"
    )


def check_pages(address: Address) -> None:
    """Raise Failure where a database that is a file is damaged, its indexes too: all is read."""
    if address.file is not None:
        with _file(address) as database:
            ((problem,),) = database.connection.execute("pragma integrity_check(1)")
        if problem != "ok":
            problem = " ".join(problem.split())
            raise Failure(f"the database {address.file} is damaged ({problem}): {BACKUP}")


def ends(address: Address) -> tuple[int, int, str, str] | None:
    """How many runs an embedded store has, when they ended and were measured, and their names.

    None where it is not known: it is another store, or cannot be read now.
    """
    if not address.is_embedded or address.file is None or not address.file.exists():
        return None
    with suppress(Failure, sqlite3.Error), _file(address) as database:
        ((runs, times, measured_at, names),) = database.rows("ends")
        return int(runs), int(times), str(measured_at), str(names)
    return None


def _look(address: Address) -> Contents:
    with _asking(address) as database:
        tables = database.tables()
        if "alembic_version" not in tables:
            return Contents()
        revision = next((str(row[0]) for row in database.rows("revision")), None)
        if "experiments" not in tables:
            return Contents(revision)
        experiments = database.rows("experiments", tag=TAG)
        found = (Experiment(name, at, tag, str(own)) for name, at, tag, own in experiments)
        return Contents(revision, tuple(found))


@contextmanager
def _asking(address: Address) -> Iterator[Asking]:
    if address.file is not None:
        with _file(address) as database:
            yield database
        return
    engine = _engine(address)
    try:
        with engine.connect() as connection:
            yield _Server(connection)
    finally:
        engine.dispose()


@contextmanager
def _file(address: Address) -> Iterator[_File]:
    try:
        with closing(sqlite3.connect(address.for_reading, uri=True, timeout=1.0)) as connection:
            yield _File(connection)
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise
        if error.sqlite_errorcode & 0xFF in NO_ROOM:
            what = f"the database {address.file} cannot be opened ({error})"
            raise Failure(f"{what}: is its disk full, or failing?") from error
        raise Failure(f"the database {address.file} cannot be read ({error}): {BACKUP}") from error


@dataclass(frozen=True)
class _File:
    """A SQLite file."""

    connection: sqlite3.Connection

    def tables(self) -> set[str]:
        return {str(row[0]) for row in self.rows("tables")}

    def rows(self, name: str, **values: str) -> Rows:
        return self.connection.execute(_statement(name), values).fetchall()


@dataclass(frozen=True)
class _Server:
    """Any other database, through SQLAlchemy."""

    connection: sqlalchemy.Connection

    def tables(self) -> set[str]:
        import sqlalchemy

        return set(sqlalchemy.inspect(self.connection).get_table_names())

    def rows(self, name: str, **values: str) -> Rows:
        import sqlalchemy

        query = sqlalchemy.text(_statement(name))
        return [tuple(row) for row in self.connection.execute(query, values)]


def _statement(name: str) -> str:
    return (SQL / f"{name}.sql").read_text("utf-8")


def _engine(address: Address) -> Any:
    import sqlalchemy

    try:
        return sqlalchemy.create_engine(address.uri)
    except ImportError as error:
        raise UserError(
            f"{address.shown} needs the Python module '{error.name}': install it"
            + (" with pip install 'indelible[postgres]'" if "postgres" in address.dialect else "")
        ) from error
    except sqlalchemy.exc.ArgumentError as error:
        raise UserError(f"the URI {address.shown} is not understood") from error
