"""The user's own queries: results are streamed, limits are kept, errors are one line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, ParamSpec, TypeVar

import duckdb
import pyarrow as pa

from analysis.connecting import USE, first_line, is_unreadable, unreadable
from analysis.limits import Limits
from unlearning.errors import Failure, UserError

Given = ParamSpec("Given")
Result = TypeVar("Result")

PULSE = 0.02  # seconds between two interruptions: one that comes before the work is lost
BLOCK = 1000  # rows that are fetched at once
MANY = 20_000  # the same where they stay columns


@dataclass(frozen=True)
class Stream:
    """The result of a query: column names, and blocks of rows of plain values."""

    columns: list[str]
    blocks: Iterator[list[tuple[Any, ...]]]

    @property
    def is_plan(self) -> bool:
        """Whether the values are DuckDB's drawing of a plan."""
        return self.columns == ["explain_key", "explain_value"]


@dataclass(frozen=True)
class ArrowStream:
    """The result of a query with DuckDB's types."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


class Query:
    """A query on a connection of its own, which is closed when the `with` ends."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, limits: Limits) -> None:
        self._connection, self._limits = connection, limits
        self._left = limits.seconds

    def rows(self, statement: str, limit: int | None) -> Stream:
        """The result as rows of plain values; only the first `limit` unless it is None."""
        self._refuse_nothing(statement)
        self._do(self._connection.execute, statement)
        columns = distinct([name for name, *_ in self._connection.description or []])
        return Stream(columns, self._blocks(limit))

    def _blocks(self, limit: int | None) -> Iterator[list[tuple[Any, ...]]]:
        left = limit
        while left != 0:
            size = BLOCK if left is None else min(BLOCK, left)
            rows = self._do(self._connection.fetchmany, size)
            if not rows:
                return
            yield rows
            left = None if left is None else left - len(rows)

    def arrow(self, statement: str, limit: int | None) -> ArrowStream:
        """The result as Arrow record batches; only the first `limit` rows unless it is None."""
        self._refuse_nothing(statement)
        reader = self._do(_arrow_reader, self._connection, statement)
        names = distinct(reader.schema.names)
        fields = [field.with_name(name) for field, name in zip(reader.schema, names, strict=True)]
        schema = pa.schema(fields)
        return ArrowStream(schema, self._batches(reader, schema, limit))

    def _batches(
        self, reader: pa.RecordBatchReader, schema: pa.Schema, limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        left = limit
        while left != 0:
            batch = self._do(_next_batch, reader)
            if batch is None:
                return
            batch = batch.slice(0, left)
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
            left = None if left is None else left - len(batch)

    def _refuse_nothing(self, statement: str) -> None:
        if not self._connection.extract_statements(statement):
            raise UserError("the query is empty")

    def _do(
        self, work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs
    ) -> Result:
        """The result of DuckDB's work, interrupted when the time is up, and by Ctrl-C."""
        began = monotonic()
        with ThreadPoolExecutor(1) as thread:
            future = thread.submit(work, *given, **named)
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
def query(connection: duckdb.DuckDBPyConnection, path: Path, limits: Limits) -> Iterator[Query]:
    """A second connection to the same database, for one query within the limits.

    Raises UserError with DuckDB's reason, Failure where a limit is reached.
    """
    try:
        with connection.cursor() as own:
            own.execute(USE)
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
    """The next batch, or None at the end.

    DuckDB's errors come out of Arrow as Arrow's own; they are raised as DuckDB's again.
    """
    try:
        return next(reader, None)
    except (OSError, pa.ArrowException) as error:
        kind = duckdb.OutOfMemoryException if "Out of Memory" in str(error) else duckdb.Error
        raise kind(str(error)) from error


def distinct(names: Sequence[str]) -> list[str]:
    """Names that are distinct whatever their case: one that repeats another gets a number."""
    given, taken = {name.lower() for name in names}, set[str]()
    numbers: dict[str, Iterator[int]] = defaultdict(lambda: count(2))
    found = []
    for name in names:
        free = name
        while free.lower() in taken or (free is not name and free.lower() in given):
            free = f"{name}_{next(numbers[name])}"
        taken.add(free.lower())
        found.append(free)
    return found
