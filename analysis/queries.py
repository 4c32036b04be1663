"""The user's own queries: results are streamed, limits are kept, errors are one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
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

from analysis.connecting import USE, first_line, is_unreadable, unreadable
from unlearning.errors import Failure, UserError

Result = TypeVar("Result")

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
PULSE = 0.02  # seconds between two interruptions: one that comes before the work is lost
BLOCK = 1000  # rows that are fetched at once
MANY = 20_000  # the same where they stay columns


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
    relation: Any = connection.sql(statement)
    if relation is None:
        return pa.table({}).to_reader()
    newer = getattr(relation, "to_arrow_reader", None)  # as DuckDB calls it since 1.4
    return (newer or relation.fetch_arrow_reader)(MANY)


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
