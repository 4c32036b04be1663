"""Run SQL queries over the warehouse, and describe what can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from analysis.atomic import written_atomically
from analysis.queries import Limits, Stream, machine_memory
from analysis.warehouse import Warehouse, described
from tracker.cli._output import LINES, escaped, only, say, show, show_blocks, texts
from tracker.cli._session import Session
from tracker.commands.ask import Schema, Sql
from unlearning.errors import UserError
from unlearning.naming import nearest


def run(session: Session, asked: Sql) -> None:
    """Print the rows of a query, or write them into a file."""
    limits = Limits(asked.timeout, asked.memory or machine_memory() // 4)
    with session.warehouse(limits) as warehouse:
        if asked.explain:
            click.echo(escaped(warehouse.explain(asked.query), LINES))
        elif asked.output is None:
            with warehouse.stream(asked.query, asked.limit) as stream:
                show_blocks(_records(stream), asked.style)
        else:
            with written_atomically(asked.output) as draft:
                if asked.output.suffix == ".parquet":
                    _write_parquet(warehouse, asked, draft)
                else:
                    _write_text(warehouse, asked, draft, asked.output.suffix[1:])
            say(f"wrote {asked.output}")


def _records(stream: Stream) -> Iterator[list[dict[str, Any]]]:
    for block in stream.blocks:
        yield [dict(zip(stream.columns, row, strict=True)) for row in block]


def _write_text(warehouse: Warehouse, asked: Sql, path: Path, style: str) -> None:
    """Write the rows of a query as csv or json, while they come."""
    file = path.open("w", encoding="utf-8")
    with file, warehouse.stream(asked.query, asked.limit) as stream:
        file.writelines(texts(_records(stream), style))


def _write_parquet(warehouse: Warehouse, asked: Sql, path: Path) -> None:
    """Write the rows of a query with DuckDB's types, while they come."""
    for column, kind in warehouse.types(asked.query):
        if "HUGEINT" in kind:
            raise UserError(
                f"Parquet cannot hold a column: '{column}' is {kind}, whole numbers of 128 bits; "
                "cast it to another"
            )
    with warehouse.arrow(asked.query, asked.limit) as stream:
        try:
            with ParquetWriter(path, stream.schema) as file:
                for batch in stream.batches:
                    file.write_batch(batch)
        except pa.ArrowException as error:
            raise UserError(f"Parquet cannot hold a column: {error}; cast it to another") from error


def run_schema(session: Session, asked: Schema) -> None:
    """Print what the relations of the warehouse are, or the columns of one."""
    with session.warehouse() as warehouse:
        relations = {item.name.partition("(")[0]: item for item in described(warehouse)}
    if (name := asked.relation) is not None and name not in relations:
        near = nearest(name, relations)
        raise UserError(f"there is no relation '{name}'{near}, but {', '.join(relations)}")
    rows = [
        {"relation": item.name, "column": column.name, "type": column.type}
        | {"column_meaning": column.meaning, "meaning": item.meaning, "example": item.example}
        for own, item in relations.items()
        if name in (None, own)
        for column in item.columns
    ]
    if name is None:
        table = [{"relation": own, "a row is": item.meaning} for own, item in relations.items()]
        show(rows, asked.style, table, "Relations; 'indelible schema RELATION' has the columns")
    else:
        table, item = only(rows, "column", "type", "column_meaning"), relations[name]
        title = f'{item.name}: {item.meaning}\nindelible sql "{item.example}"'
        show(rows, asked.style, table, title)
