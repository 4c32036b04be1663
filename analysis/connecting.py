"""Connections to the file of a warehouse: read-only ones without access to anything else, and a
writing one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from analysis.chance import choice_p_values, signs_by_chance
from analysis.exact import exact_p_value
from analysis.jackknife import jackknife_interval
from analysis.reasons import unreadable
from analysis.reliability import mean_rho_interval
from analysis.statistics import Floats, chi_square_p_value, spearman_p_value, t_quantile
from unlearning.errors import UserError

MEMORY = "400MiB"  # of DuckDB's at first, where a warehouse is made; the rest waits on the disk
STORAGE = "v1.0.0"  # DuckDB's first format that lasts: every shell since then reads it
CLOSED = (  # what a reader of the warehouse has no use for
    "enable_external_access",
    "autoinstall_known_extensions",
    "autoload_known_extensions",
    "python_enable_replacements",
)

USE = "use analysis"  # by this name each connection has the warehouse
ARROW: dict[str, Any] = {"type": "arrow"}  # DuckDB's stubs have no strings here
Config = dict[str, str | bool | int | float | list[str]]  # as DuckDB's stubs have it


@contextmanager
def reading(path: Path, memory: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to the warehouse, without access to other files.

    Args:
        memory: bytes that DuckDB may take; no temporary files take their place.

    Raises UserError if it is missing or not a warehouse, Failure if another process writes to it.
    """
    with _opened(path, memory) as connection, _interrupts():
        yield connection


@contextmanager
def writing(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a new file, which is complete at the end of the `with`.

    It keeps to MEMORY, as far as all statements go through `with_room`.
    """
    config: Config = {"storage_compatibility_version": STORAGE, "memory_limit": MEMORY}
    with _interrupts(), duckdb.connect(str(path.absolute()), config=config) as connection:
        yield connection
        connection.execute("checkpoint")  # closing would keep quiet about a full disk


@contextmanager
def _interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt where a signal did so while DuckDB was at work, which loses it."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def with_room(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Execute a statement; in all memory that DuckDB may have, if it does not work in MEMORY."""
    try:
        connection.execute(statement)
    except duckdb.OutOfMemoryException:
        connection.execute("reset memory_limit")
        connection.execute(statement)


def refuse_if_held(path: Path) -> None:
    """Raise Failure if another process writes to the warehouse."""
    with suppress(UserError):
        _opened(path, None).close()


def extend(connection: duckdb.DuckDBPyConnection) -> None:
    """Give a connection the statistical functions that DuckDB lacks."""
    for function in (spearman_p_value, chi_square_p_value, t_quantile, signs_by_chance):
        connection.create_function(function.__name__, function, ["DOUBLE", "BIGINT"], "DOUBLE")
    name = mean_rho_interval.__name__
    connection.create_function(name, mean_rho_interval, ["DOUBLE[][]"], "DOUBLE[]")
    _of_pairs(connection, exact_p_value, pa.float64(), "DOUBLE")
    _of_pairs(connection, jackknife_interval, pa.list_(pa.float64()), "DOUBLE[]")
    name = choice_p_values.__name__
    connection.create_function(name, _choices, ["DOUBLE[][]"], "DOUBLE[]", **ARROW)


def _of_pairs(
    connection: duckdb.DuckDBPyConnection,
    function: Callable[[Floats, Floats], object],
    kind: pa.DataType,
    returned: str,
) -> None:
    """Give a connection a function of a list of pairs, which gets both sides as NumPy arrays."""

    def of_lists(lists: pa.ChunkedArray) -> pa.Array:
        found = [
            None if pairs is None else function(*pairs)
            for chunk in lists.chunks
            for pairs in _sides(chunk)
        ]
        return pa.array(found, kind)

    kinds: list[Any] = ["STRUCT(x DOUBLE, y DOUBLE)[]"]
    how = ARROW | {"null_handling": "special"}
    connection.create_function(function.__name__, of_lists, kinds, returned, **how)


def _sides(lists: pa.ListArray) -> Iterator[Sequence[Floats] | None]:
    """Both sides of each list of pairs as arrays; None where the list is NULL."""
    pairs, ends = lists.values, lists.offsets.to_numpy()
    x, y = (pairs.field(name).to_numpy(zero_copy_only=False) for name in ("x", "y"))
    for k, there in enumerate(lists.is_valid()):
        part = slice(ends[k], ends[k + 1])
        yield (x[part], y[part]) if there.as_py() else None


def _choices(tables: pa.Array) -> pa.Array:
    """`choice_p_values` of each table, which is made an array without Python lists between."""
    found = []
    for rows in (table.values for table in tables):
        numbers = rows.flatten().to_numpy(zero_copy_only=False)
        found.append(choice_p_values(numbers.reshape(len(rows), -1)))
    return pa.array(found, pa.list_(pa.float64()))


def attach(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> None:
    """Give a connection a warehouse to read, under a name."""
    quoted = str(path.absolute()).replace("'", "''")
    connection.execute(f"attach '{quoted}' as {name} (read_only)")


def _opened(path: Path, memory: int | None) -> duckdb.DuckDBPyConnection:
    """A connection of its own: DuckDB itself opens a file once in a process, with one setting."""
    _look(path)
    config: Config = {**dict.fromkeys(CLOSED, False), "enable_external_access": True}
    if memory is not None:
        config |= {"memory_limit": f"{memory}B", "temp_directory": ""}
    connection = duckdb.connect(":memory:", config=config)
    try:
        attach(connection, path, "analysis")
        connection.execute(USE)
        extend(connection)
        connection.execute("set enable_external_access = false; set lock_configuration = true")
    except duckdb.Error as error:
        raise unreadable(path, error) from error
    return connection


def _look(path: Path) -> None:
    """Raise UserError if there is no file, or it cannot be accessed."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"there is no warehouse at {path}: run 'indelible load' first") from error
    except OSError as error:
        raise UserError(f"the warehouse {path} cannot be read: {error.strerror}") from error
