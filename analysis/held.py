"""Answers that stay: relations in memory, which know nothing of the file that they came from."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from analysis.connecting import CLOSED, Config
from analysis.warehouse import Warehouse

Table = duckdb.DuckDBPyRelation


def asked(warehouse: Warehouse, statement: str) -> Table:
    """The whole answer to a query of the user's own, which later loads leave as it is.

    Raises UserError with DuckDB's reason.
    """
    with warehouse.arrow(statement) as stream:
        return held(pa.Table.from_batches(stream.batches, stream.schema))


def held(rows: pa.Table) -> Table:
    """Rows of Arrow's as a relation on a connection of its own, without access to files."""
    config: Config = dict.fromkeys(CLOSED, False)
    connection = duckdb.connect(":memory:", config=config)
    relation = connection.from_arrow(rows)
    connection.execute("set lock_configuration = true")
    return relation


def from_records(records: Iterable[dict[str, object]], schema: pa.Schema) -> Table:
    """Mappings from column to value as a relation with these columns."""
    return held(pa.Table.from_pylist(list(records), schema=schema))
