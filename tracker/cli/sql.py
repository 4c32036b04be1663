"""Run SQL queries over the warehouse, and describe what can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from analysis.atomic import written_atomically
from analysis.connecting import Limits, Stream, machine_memory
from analysis.meanings import INTERNAL
from analysis.warehouse import described
from tracker.cli._output import Session, escaped, only, say, show, show_blocks, texts
from tracker.commands import ask
from unlearning.errors import UserError
from unlearning.naming import nearest


def run(session: Session, asked: ask.Sql) -> None:
    """Print the rows of a query, or write them into a file, while they come."""
    limits = Limits(asked.timeout, asked.memory or machine_memory() // 4)
    query, path = (asked.query, asked.limit), asked.output
    with session.warehouse(limits) as warehouse:
        if asked.explain:
            click.echo(escaped(warehouse.explain(asked.query)))
        elif path is None:
            with warehouse.stream(*query) as stream:
                show_blocks(_records(stream), asked.style)
        elif path.suffix == ".parquet":
            try:
                with (
                    written_atomically(path) as draft,
                    warehouse.arrow(*query) as found,
                    ParquetWriter(draft, found.schema) as file,
                ):
                    for batch in found.batches:
                        file.write_batch(batch)
            except pa.ArrowException as error:
                raise UserError(f"Parquet cannot hold a column: {error}; cast it") from error
        else:
            with (
                written_atomically(path) as draft,
                draft.open("w", encoding="utf-8") as file,
                warehouse.stream(*query) as stream,
            ):
                file.writelines(texts(_records(stream), path.suffix[1:]))
    if path is not None:
        say(f"wrote {path}")


def _records(stream: Stream) -> Iterator[list[dict[str, Any]]]:
    for block in stream.blocks:
        yield [dict(zip(stream.columns, row, strict=True)) for row in block]


def schema(session: Session, asked: ask.Schema) -> None:
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
        shown = {own: item for own, item in relations.items() if not own.startswith(INTERNAL)}
        table = [{"relation": own, "a row is": item.meaning} for own, item in shown.items()]
        show(rows, asked.style, table, "Relations; 'indelible schema RELATION' has the columns")
    else:
        table, item = only(rows, "column", "type", "column_meaning"), relations[name]
        title = f'{item.name}: {item.meaning}\nindelible sql "{item.example}"'
        show(rows, asked.style, table, title)
