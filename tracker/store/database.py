"""MLflow's databases, read by plain SQL: without MLflow, which would migrate them.

No other SQLite library than Python's own may open a file in this process: where one of two closes
it, the system drops the locks of both, and a write may be lost ("How To Corrupt An SQLite Database
File", 2.2.1).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from tracker.store.addresses import Address
from tracker.store.identity import TAG, Experiment
from tracker.store.patience import Patience
from unlearning.errors import Failure, UserError

if TYPE_CHECKING:
    import sqlalchemy

SQL = Path(__file__).parent / "sql"  # for SQLite and PostgreSQL alike
BACKUP = "put a backup in its place, and delete the files -wal and -shm beside it"

# What SQLite says on a disk that is full or broken; the file itself may be whole.
NO_ROOM = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)

Rows = list[tuple[Any, ...]]


class Database(Protocol):
    """A database that is open to be read."""

    def tables(self) -> set[str]:
        """The names of its tables."""

    def rows(self, query: Path, **values: str) -> Rows:
        """The rows of the query in a file, with its values bound."""


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
        ((runs, times, measured_at, names),) = database.rows(SQL / "ends.sql")
        return int(runs), int(times), str(measured_at), str(names)
    return None


def _look(address: Address) -> Contents:
    with opened(address) as database:
        tables = database.tables()
        if "alembic_version" not in tables:
            return Contents()
        revision = next((str(row[0]) for row in database.rows(SQL / "revision.sql")), None)
        if "experiments" not in tables:
            return Contents(revision)
        experiments = database.rows(SQL / "experiments.sql", tag=TAG)
        return Contents(revision, tuple(Experiment(*each) for each in experiments))


@contextmanager
def opened(address: Address) -> Iterator[Database]:
    """A database, open to be read.

    Raises UserError without a driver for it, Failure where a file is damaged.
    """
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
        with closing(sqlite3.connect(_uri(address), uri=True, timeout=1.0)) as connection:
            yield _File(connection)
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise
        if error.sqlite_errorcode & 0xFF in NO_ROOM:
            what = f"the database {address.file} cannot be opened ({error})"
            raise Failure(f"{what}: is its disk full, or failing?") from error
        raise Failure(f"the database {address.file} cannot be read ({error}): {BACKUP}") from error


def _uri(address: Address) -> str:
    """How SQLite opens a file to read it.

    It puts two more files beside one in write-ahead mode. In a folder that cannot be written it is
    told that the file does not change, unless the log beside it has content that is not in the file
    yet.
    """
    assert address.file is not None
    log = address.file.with_name(f"{address.file.name}-wal")
    settled = not (log.exists() and log.stat().st_size)
    how = "mode=rw" if not address.is_read_only else "immutable=1" if settled else "mode=ro"
    return f"file:{quote(str(address.file))}?{how}"


@dataclass(frozen=True)
class _File:
    """A SQLite file."""

    connection: sqlite3.Connection

    def tables(self) -> set[str]:
        return {str(row[0]) for row in self.rows(SQL / "tables.sql")}

    def rows(self, query: Path, **values: str) -> Rows:
        return self.connection.execute(query.read_text("utf-8"), values).fetchall()


@dataclass(frozen=True)
class _Server:
    """Any other database, through SQLAlchemy."""

    connection: sqlalchemy.Connection

    def tables(self) -> set[str]:
        import sqlalchemy

        return set(sqlalchemy.inspect(self.connection).get_table_names())

    def rows(self, query: Path, **values: str) -> Rows:
        import sqlalchemy

        return list(self.connection.execute(sqlalchemy.text(query.read_text("utf-8")), values))


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
