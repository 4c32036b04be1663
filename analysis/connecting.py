"""Connections to the file of a warehouse: read-only ones without access to anything else, and a
writing one. DuckDB's errors as one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from scipy.special import chdtrc, stdtrit

from analysis import statistics
from analysis.chance import choice_p_values
from unlearning.errors import Failure, UserError

STORAGE = "v1.0.0"  # DuckDB's first format that lasts: every shell since then reads it
MEMORY = "400MiB"  # of DuckDB's at first; what is more waits on the disk
CLOSED = (  # what a reader of the warehouse has no use for
    "enable_external_access",
    "autoinstall_known_extensions",
    "autoload_known_extensions",
    "python_enable_replacements",
)
USE = "use analysis"  # by this name each connection has the warehouse
Config = dict[str, str | bool | int | float | list[str]]  # as DuckDB's stubs have it

_UNREADABLE = re.compile(
    "Corrupt database file|Could not read|replaying WAL|not a valid DuckDB|version number|"
    "Could not set lock"
)


def opened(path: Path, memory: str | None = None, spilled: str = "") -> duckdb.DuckDBPyConnection:
    """A read-only connection to the warehouse, without access to other files.

    It is one in memory that attaches the file: DuckDB opens a file once in a process, with one
    setting.

    Args:
        memory: that DuckDB may take, as its settings have it; all that it takes by itself if None.
        spilled: a folder for what is more than that; it is an error if there is none.

    Raises UserError if it is missing or not a warehouse, Failure if another process writes to it.
    """
    config: Config = {**dict.fromkeys(CLOSED, False), "enable_external_access": True}
    if memory is not None:
        config |= {"memory_limit": memory, "temp_directory": spilled}
    connection = duckdb.connect(":memory:", config=config)
    try:
        attach(connection, path, "analysis")
        connection.execute(USE)
        extend(connection)
        connection.execute("set enable_external_access = false; set lock_configuration = true")
    except duckdb.Error as error:
        raise unreadable(path, error) from error
    return connection


def attach(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> None:
    """Give a connection a warehouse to read, under a name."""
    quoted = str(path.absolute()).replace("'", "''")
    connection.execute(f"attach '{quoted}' as {name} (read_only)")


@contextmanager
def writing(path: Path, what: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a new file, which is complete at the end of the `with`.

    It keeps to MEMORY where large statements go through `with_room`.

    Raises UserError where `what` is made cannot be written, Failure where there is no room.
    """
    config: Config = {"storage_compatibility_version": STORAGE, "memory_limit": MEMORY}
    try:
        with interruptible(), duckdb.connect(str(path.absolute()), config=config) as connection:
            yield connection
            connection.execute("checkpoint")  # closing would keep quiet about a full disk
    except (
        *(duckdb.IOException, duckdb.FatalException),
        *(duckdb.TransactionException, duckdb.OutOfMemoryException),
    ) as error:
        is_full = isinstance(error, duckdb.OutOfMemoryException) or "No space left" in str(error)
        reason = first_line(error).rpartition('": ')[2]  # behind the name of the file
        raise (Failure if is_full else UserError)(f"{what} cannot be written: {reason}") from error


def with_room(connection: duckdb.DuckDBPyConnection, statements: Iterable[str]) -> None:
    """Execute statements in one transaction: else the disk has to have each before the next.

    In all memory that DuckDB may have, if it does not work in MEMORY.
    """
    every = [*statements]

    def attempt() -> None:
        connection.begin()
        for statement in every:
            connection.execute(statement)
        connection.commit()

    try:
        attempt()
    except duckdb.OutOfMemoryException:
        with suppress(duckdb.TransactionException):  # it is over, where the commit had no room
            connection.rollback()
        connection.execute("reset memory_limit")
        attempt()


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt where a signal did so while DuckDB was at work, which loses it."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


# Functions


def extend(connection: duckdb.DuckDBPyConnection) -> None:
    """Give a connection the statistical functions that DuckDB lacks."""
    of_numbers: dict[str, Callable[[float, int], float]] = {
        "spearman_p_value": statistics.spearman_p_value,
        "signs_by_chance": statistics.signs_by_chance,
        "chi_square_p_value": lambda statistic, freedom: float(chdtrc(freedom, statistic)),
        "t_quantile": lambda share, freedom: float(stdtrit(freedom, share)),
    }
    for name, function in of_numbers.items():
        connection.create_function(name, function, ["DOUBLE", "BIGINT"], "DOUBLE")
    of_tables: dict[str, tuple[Callable[[Any], Any], str]] = {
        "exact_p_value": (lambda pairs: statistics.exact_p_value(*pairs.T), "DOUBLE"),
        "jackknife_interval": (lambda pairs: statistics.jackknife_interval(*pairs.T), "DOUBLE[]"),
        "mean_rho_interval": (statistics.mean_rho_interval, "DOUBLE[]"),
        "choice_p_values": (choice_p_values, "DOUBLE[]"),
    }
    arrow: Any = {"type": "arrow", "null_handling": "special"}
    for name, (of_table, kind) in of_tables.items():
        connection.create_function(name, _of_tables(of_table, kind), ["DOUBLE[][]"], kind, **arrow)


def _of_tables(function: Callable[[Any], Any], kind: str) -> Callable[[pa.ChunkedArray], pa.Array]:
    """A function of lists of rows, each given as a NumPy array of two dimensions."""
    returned = pa.float64() if kind == "DOUBLE" else pa.list_(pa.float64())

    def of_tables(lists: pa.ChunkedArray) -> pa.Array:
        rows = (each.values if each.is_valid else None for each in lists)
        tables = (
            None
            if own is None
            else own.flatten().to_numpy(zero_copy_only=False).reshape(len(own), -1)
            for own in rows
        )
        return pa.array([None if table is None else function(table) for table in tables], returned)

    return of_tables


# Errors


def first_line(error: Exception) -> str:
    """The message without the hints and the query that DuckDB adds below."""
    return " ".join(str(error).splitlines()[:1])


def is_unreadable(error: duckdb.Error) -> bool:
    """Whether the error is due to the file, not to the query."""
    return _UNREADABLE.search(str(error)) is not None


def unreadable(path: Path, error: duckdb.Error) -> UserError | Failure:
    """Why a warehouse cannot be opened or read."""
    said = first_line(error)
    if "does not exist" in said or "Not a directory" in said:
        return UserError(f"there is no warehouse at {path}: run 'indelible load' first")
    if held := re.search(r'Could not set lock on file ".*": (.+?)(\. See also .*)?$', said):
        return Failure(f"the warehouse {path} is in use: {held[1]}; close it there and try again")
    if "already attached" in said:
        return Failure(
            f"the warehouse {path} is open for writing in this very process: close it there first"
        )
    if "Permission denied" in said or not is_unreadable(error):
        return UserError(f"the warehouse {path} cannot be read: {said}")
    return UserError(
        f"{path} is not a warehouse that can be read ({said}): delete it and run 'indelible load'"
    )
