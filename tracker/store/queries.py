"""What is asked of the tables of an MLflow store that is a database, SQLite or PostgreSQL.

The tables are named in SQL files, since importing MLflow's models takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, TextualSelect, column, text

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


def fetched(connection: Connection, query: Select[Any]) -> Columns:
    """The columns of a query, of the driver's tuples: SQLAlchemy's take twice the time.

    Few tuples are there at once: Python's garbage collector would look at each again and again.
    """
    cursor = connection.execute(query).cursor
    columns: Columns = [[] for _ in cursor.description]
    while rows := cursor.fetchmany(AT_A_TIME):
        for known, values in zip(columns, zip(*rows, strict=True), strict=True):
            known += values
    return columns
