"""What is asked of the tables of an MLflow store that is a database, SQLite or PostgreSQL.

The tables are named in SQL files, since importing MLflow's models takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Select, TextualSelect, column, text

from tracker.store import database
from tracker.store.addresses import Address
from unlearning.errors import UserError

SQL = Path(__file__).parent / "sql"
AT_A_TIME = 500  # runs that one query asks for

Columns = list[list[Any]]


def _relation(name: str, columns: str) -> Any:
    """The rows of a file, to select from."""
    query: TextualSelect = text((SQL / f"{name}.sql").read_text("utf-8")).columns(
        *map(column, columns.split())
    )
    return query.subquery(name)


RUNS = _relation(
    "runs",
    "run_id name experiment_id experiment kind status start_time end_time measured_at artifact_uri",
)
MEMBERS = _relation("members", "run_id key")
EXPERIMENTS = _relation("experiments", "experiment_id artifact_location store")
POINTS = _relation("points", "run_id key timestamp step value")
PAIRS = {name: _relation(name, "run_id key value") for name in ("params", "tags", "metrics")}


@contextmanager
def opened(address: Address) -> Iterator[Connection]:
    """A database, open to be read.

    Raises UserError without a driver for it, Failure where a file is damaged.
    """
    if address.file is not None:
        with database.opened(address) as file:
            how = {"creator": lambda: file, "poolclass": sqlalchemy.StaticPool}
            with sqlalchemy.create_engine("sqlite://", **how).connect() as connection:
                yield connection
        return
    try:
        engine = sqlalchemy.create_engine(address.uri, poolclass=sqlalchemy.NullPool)
    except (ImportError, sqlalchemy.exc.ArgumentError) as error:
        raise UserError(
            f"the URI {address.shown} is not understood, or its driver is not installed ({error}): "
            "PostgreSQL's comes with pip install 'indelible[postgres]'"
        ) from error
    with engine.connect() as connection:
        yield connection


def blocks(connection: Connection, query: Select[Any]) -> Iterator[Columns]:
    """The columns of some rows of a query at a time, of none at first.

    They are of the driver's tuples: SQLAlchemy's take twice the time. Few tuples are there at once:
    Python's garbage collector would look at each again and again.
    """
    cursor = connection.execute(query).cursor
    yield [[] for _ in cursor.description]
    while rows := cursor.fetchmany(AT_A_TIME):
        yield [list(values) for values in zip(*rows, strict=True)]


def fetched(connection: Connection, query: Select[Any]) -> Columns:
    """The columns of a query."""
    every = blocks(connection, query)
    columns = next(every)
    for block in every:
        for known, values in zip(columns, block, strict=True):
            known += values
    return columns
