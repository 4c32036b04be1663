"""Connections to the file of a warehouse: read-only ones without access to anything else, and a
writing one. The user's own queries: results are streamed, limits are kept. DuckDB's errors as one
line.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import TIMEOUT_MAX
from time import monotonic
from typing import Any, TypeVar

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
Result = TypeVar("Result")
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
PULSE = 0.02  # seconds between two interruptions: one that comes before the work is lost
BLOCK = 1000  # rows that are fetched at once
MANY = 20_000  # the same where they stay columns


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
        most = machine_memory() * 4 // 5  # DuckDB's default; its 1.5 ignores "reset"
        connection.execute(f"set memory_limit = '{most}B'")
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


@dataclass(frozen=True)
class Limits:
    """The limits of one query.

    Attributes:
        seconds: of DuckDB's work; what is done with its rows does not count.
        memory: bytes that DuckDB may take; None: no limit.
    """

    seconds: float = TIMEOUT_MAX
    memory: int | None = None

    @property
    def setting(self) -> str | None:
        """The memory as DuckDB's setting has it."""
        return None if self.memory is None else f"{self.memory}B"


def machine_memory() -> int:
    """The memory of this machine, or of the container, in bytes."""
    known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in CGROUPS:
        with suppress(OSError, ValueError):  # not there, or "max"
            known.append(int(Path(file).read_text("ascii")))
    return min(known)


@dataclass(frozen=True)
class Stream:
    """The result of a query while it is computed: column names, and blocks of plain rows."""

    columns: list[str]
    blocks: Iterator[list[tuple[Any, ...]]]


@dataclass(frozen=True)
class ArrowStream:
    """The result of a query while it is computed, with DuckDB's types."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


class Query:
    """A query on a connection of its own, which is closed when the `with` ends."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, limits: Limits) -> None:
        self._connection, self._limits = connection, limits
        self._left = limits.seconds

    def rows(self, statement: str, limit: int | None) -> Stream:
        """The result as rows of plain values; only the first `limit` unless it is None."""
        self._do(lambda: self._connection.execute(statement))
        columns = distinct([name for name, *_ in self._connection.description or []])
        return Stream(columns, self._first(limit, lambda: self._connection.fetchmany(BLOCK)))

    def arrow(self, statement: str, limit: int | None) -> ArrowStream:
        """The result as Arrow record batches; only the first `limit` rows unless it is None."""
        reader = self._do(lambda: _arrow_reader(self._connection, statement))
        names = distinct(reader.schema.names)
        schema = pa.schema(
            field.with_name(n) for field, n in zip(reader.schema, names, strict=True)
        )
        batches = self._first(limit, lambda: _next_batch(reader))
        named = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in batches)
        return ArrowStream(schema, named)

    def _first(self, limit: int | None, fetch: Callable[[], Any]) -> Iterator[Any]:
        left = sys.maxsize if limit is None else limit
        while left > 0 and (block := self._do(fetch)):
            yield block[:left]
            left -= len(block)

    def _do(self, work: Callable[[], Result]) -> Result:
        """The result of DuckDB's work, interrupted when the time is up, and by Ctrl-C."""
        began = monotonic()
        with ThreadPoolExecutor(1) as thread:
            future = thread.submit(work)
            try:
                wait([future], self._left)
            finally:
                while not future.done():
                    self._connection.interrupt()
                    wait([future], PULSE)
        self._left -= monotonic() - began
        if self._left <= 0:
            raise Failure(f"the query took longer than {self._limits.seconds:g} s")
        return future.result()


@contextmanager
def query(
    connection: duckdb.DuckDBPyConnection, path: Path, limits: Limits, statement: str
) -> Iterator[Query]:
    """A second connection to the same database, for one query within the limits.

    Raises UserError with DuckDB's reason, Failure where a limit is reached.
    """
    try:
        with connection.cursor() as own:
            own.execute(USE)
            if not own.extract_statements(statement):
                raise UserError("the query is empty")
            yield Query(own, limits)
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        most = "there is" if limits.memory is None else f"{limits.memory / 1e9:.3g} GB"
        raise Failure(f"the query needs more memory than {most}") from error
    except duckdb.Error as error:
        if is_unreadable(error):
            raise unreadable(path, error) from error
        raise UserError(f"the query failed: {first_line(error)}") from error


def _arrow_reader(connection: duckdb.DuckDBPyConnection, statement: str) -> pa.RecordBatchReader:
    relation: Any = connection.sql(statement)  # None where a statement gives no rows
    return pa.table({}).to_reader() if relation is None else relation.to_arrow_reader(MANY)


def _next_batch(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    """The next batch, or None at the end. DuckDB's errors are Arrow's own when they get here."""
    try:
        return next(reader, None)
    except (OSError, pa.ArrowException) as error:
        kind = duckdb.OutOfMemoryException if "Out of Memory" in str(error) else duckdb.Error
        raise kind(str(error)) from error


def distinct(names: Sequence[str]) -> list[str]:
    """Names that are distinct whatever their case: one that repeats another gets a number."""
    given, taken, found = {name.lower() for name in names}, set[str](), list[str]()
    for name in names:
        free, numbers = name, count(2)
        while free.lower() in taken or (free is not name and free.lower() in given):
            free = f"{name}_{next(numbers)}"
        taken.add(free.lower())
        found.append(free)
    return found
