"""The DuckDB warehouse: rows in, relations out.

Each relation, and each macro, is one SQL file with one statement. They run in the order of their
files' numbers, `schema` before `marts`; reports are queries over them. The finished file needs
nothing of this package: every relation is a table, and a plain DuckDB shell reads it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from indelible.analysis.statistics import spearman_p_value
from indelible.errors import UserError

SQL = Path(__file__).parent / "sql"

# What `rebuild` takes, a table each: column names and types.
STAGING = {
    "runs": pa.schema(
        [
            ("run_id", pa.string()),
            ("name", pa.string()),
            ("experiment", pa.string()),
            ("kind", pa.string()),
            ("status", pa.string()),
            ("start_time", pa.timestamp("ms")),
            ("end_time", pa.timestamp("ms")),
        ]
    ),
    "params": pa.schema([("run_id", pa.string()), ("key", pa.string()), ("value", pa.string())]),
    "tags": pa.schema([("run_id", pa.string()), ("key", pa.string()), ("value", pa.string())]),
    "metrics": pa.schema([("run_id", pa.string()), ("key", pa.string()), ("value", pa.float64())]),
    "plans": pa.schema([("sweep_id", pa.string()), ("key", pa.string())]),
    "factor_catalog": pa.schema(
        [("position", pa.int64())]
        + [
            (name, pa.string())
            for name in (
                "factor",
                "title",
                "family",
                "phase",
                "unit",
                "harder",
                "description",
                "undefined",
            )
        ]
    ),
}


@dataclass(frozen=True)
class Relation:
    """The result of a query: column names, and rows of plain values."""

    columns: list[str]
    rows: list[tuple[Any, ...]]

    def records(self) -> list[dict[str, Any]]:
        """The rows as mappings from column to value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def rebuild(path: Path, staging: Mapping[str, pa.Table]) -> None:
    """Make the warehouse anew from staging rows (see STAGING) and put it in place of the old.

    The old file stays whole until the new one is complete; readers that have it open keep it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        connection = duckdb.connect(str(draft))
        with connection:
            _extend(connection)
            _build(connection, staging)
        connection.close()
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
        Path(f"{draft}.wal").unlink(missing_ok=True)


def _build(connection: duckdb.DuckDBPyConnection, staging: Mapping[str, pa.Table]) -> None:
    connection.execute("create schema staging")
    for name, schema in STAGING.items():
        connection.register("incoming", staging[name].cast(schema))
        connection.execute(f'create table staging."{name}" as from incoming')
        connection.unregister("incoming")
    for folder in ("schema", "marts"):
        for file in sorted((SQL / folder).glob("*.sql")):
            connection.execute(file.read_text("utf-8"))


class Warehouse:
    """A read-only connection to a warehouse, with no access to files or anything else outside."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def report(self, name: str, **parameters: object) -> Relation:
        """The result of `sql/reports/<name>.sql` with its parameters bound."""
        statement = (SQL / "reports" / f"{name}.sql").read_text("utf-8")
        return _fetch(self._connection.execute(statement, parameters or None))

    def query(self, statement: str) -> Relation:
        """The result of the user's own query. Raises UserError with DuckDB's reason."""
        try:
            return _fetch(self._connection.execute(statement))
        except duckdb.Error as error:
            raise UserError(f"the query failed: {_first_line(error)}") from error

    def sweep_id(self, reference: str) -> str:
        """The id of the sweep of that id, or the `latest`. Raises UserError if there is none."""
        ids = [row[0] for row in self.report("sweeps").rows]
        if not ids:
            raise UserError(
                "the warehouse holds no sweep: run 'indelible sweep' and 'indelible load' first"
            )
        if reference == "latest":
            return str(ids[0])
        if reference not in ids:
            raise UserError(f"no sweep '{reference}' in the warehouse: 'indelible sweeps' lists it")
        return reference


@contextmanager
def open_warehouse(path: Path) -> Iterator[Warehouse]:
    """The warehouse at `path`. Raises UserError if it is missing or not one."""
    if not path.exists():
        raise UserError(f"there is no warehouse at {path}: run 'indelible load' first")
    try:
        connection = duckdb.connect(
            str(path),
            read_only=True,
            config={
                "enable_external_access": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
    except duckdb.Error as error:
        raise UserError(
            f"{path} is not a warehouse that can be read ({_first_line(error)}): "
            "delete it and run 'indelible load'"
        ) from error
    with connection:
        _extend(connection)
        connection.execute("set lock_configuration = true")
        yield Warehouse(connection)


def _extend(connection: duckdb.DuckDBPyConnection) -> None:
    """Give SQL the functions that it lacks."""
    connection.create_function(
        "spearman_p_value",
        spearman_p_value,
        ["DOUBLE", "BIGINT"],
        "DOUBLE",
    )


def _fetch(result: duckdb.DuckDBPyConnection) -> Relation:
    columns: list[str] = []
    for name, *_ in result.description or []:  # a join may give two columns one name
        columns.append(name if name not in columns else f"{name}_{columns.count(name) + 1}")
    return Relation(columns, result.fetchall())


def _first_line(error: Exception) -> str:
    return " ".join(str(error).splitlines()[:1])
