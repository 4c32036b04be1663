"""Connections to the file of a warehouse: to read it and nothing else, and to write it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa

from indelible.analysis.chance import choice_p_values, signs_by_chance
from indelible.analysis.reasons import unreadable
from indelible.analysis.reliability import mean_rho_interval
from indelible.analysis.statistics import chi_square_p_value, spearman_p_value
from indelible.errors import Abandoned, UserError

STORAGE = "v1.0.0"  # DuckDB's first format that lasts: every shell since then reads it
CLOSED = (  # what a reader of the warehouse has no use for
    "enable_external_access",
    "autoinstall_known_extensions",
    "autoload_known_extensions",
    "python_enable_replacements",
)

Config = dict[str, str | bool | int | float | list[str]]  # as DuckDB's stubs have it


@contextmanager
def reading(path: Path, memory: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that reads the warehouse, and nothing else.

    Args:
        memory: bytes that DuckDB may take; no temporary files take their place.

    Raises UserError if it is missing or not a warehouse, Failure if another process writes to it.
    """
    connection, abandoned = _opened(path, memory), False
    try:
        yield connection
    except Abandoned:  # closing would wait for the query
        abandoned = True
        raise
    finally:
        if not abandoned:
            connection.close()


@contextmanager
def writing(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a new file, which is complete at the end of the `with`."""
    config: Config = {"storage_compatibility_version": STORAGE}
    with duckdb.connect(str(path), config=config) as connection:
        yield connection
        connection.execute("checkpoint")  # closing would keep quiet about a full disk


def refuse_if_held(path: Path) -> None:
    """Raises Failure if another process writes to the warehouse."""
    with suppress(UserError):
        _opened(path, None).close()


def extend(connection: duckdb.DuckDBPyConnection) -> None:
    """Give SQL the functions that it lacks."""
    for function in (spearman_p_value, chi_square_p_value, signs_by_chance):
        connection.create_function(function.__name__, function, ["DOUBLE", "BIGINT"], "DOUBLE")
    name = mean_rho_interval.__name__
    connection.create_function(name, mean_rho_interval, ["DOUBLE[][]"], "DOUBLE[]")
    name, as_arrow = choice_p_values.__name__, cast(Any, "arrow")  # DuckDB's stubs have no strings
    connection.create_function(name, _choices, ["DOUBLE[][]"], "DOUBLE[]", type=as_arrow)


def _choices(tables: pa.Array) -> pa.Array:
    """`choice_p_values` of each table, whose numbers are too many for lists of Python's own."""
    found = []
    for rows in (table.values for table in tables):
        numbers = rows.flatten().to_numpy(zero_copy_only=False)
        found.append(choice_p_values(numbers.reshape(len(rows), -1)))
    return pa.array(found, pa.list_(pa.float64()))


def _opened(path: Path, memory: int | None) -> duckdb.DuckDBPyConnection:
    _look(path)
    config: Config = dict.fromkeys(CLOSED, False)
    if memory is not None:
        config |= {"memory_limit": f"{memory}B", "temp_directory": ""}
    try:
        connection = duckdb.connect(str(path), read_only=True, config=config)
        extend(connection)
        connection.execute("set lock_configuration = true")
    except duckdb.Error as error:
        raise unreadable(path, error) from error
    return connection


def _look(path: Path) -> None:
    """Raises UserError if no file is there, or none that can be looked at."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"there is no warehouse at {path}: run 'indelible load' first") from error
    except OSError as error:
        raise UserError(f"the warehouse {path} cannot be read: {error.strerror}") from error
