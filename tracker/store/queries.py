"""What is asked of the tables of an MLflow store that is a database, SQLite or PostgreSQL.

The tables are named in SQL files, since importing MLflow's models takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, TextualSelect, column, text

SQL = Path(__file__).parent / "sql"
AT_A_TIME = 500  # runs that one query asks for

Rows = list[tuple[Any, ...]]


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


def fetched(connection: Connection, query: Select[Any]) -> Rows:
    """All rows of a query, as tuples of the driver, which SQLAlchemy's take twice the time of."""
    return list(connection.execute(query).cursor.fetchall())
