"""Run SQL queries over the warehouse."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from analysis.drafts import draft_of
from analysis.limits import Limits, machine_memory
from tracker.cli._options import MOST_ROWS, OutputPath, a_number, as_one, format_option, refuse
from tracker.cli._output import show_blocks, texts
from tracker.cli._session import Session, pass_session
from unlearning.errors import UserError

if TYPE_CHECKING:
    from analysis.queries import Stream
    from analysis.warehouse import Warehouse

KINDS = ("parquet", "csv", "json")
DAY = 24 * 3600
UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
LEAST = 100 * UNITS["MB"]  # what DuckDB needs for itself

Rows = TypeVar("Rows", bound=Sized)


def _bytes(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """The bytes of a size like 2GB."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?) ?([MGT]B)", value.upper(), re.ASCII)
    size = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if size < LEAST:
        raise click.BadParameter(f"{value!r} is not a size like 500MB or 2GB, from 100MB.")
    return size


class Counted(Generic[Rows]):
    """Blocks of rows whose rows are counted as they pass."""

    def __init__(self, blocks: Iterable[Rows]) -> None:
        self._blocks, self.rows = blocks, 0

    def __iter__(self) -> Iterator[Rows]:
        for block in self._blocks:
            self.rows += len(block)
            yield block


@dataclass(frozen=True)
class Arguments:
    """The options of the command, by the names that they have there.

    Attributes:
        timeout: seconds. memory: bytes; None for a quarter of the machine's.
    """

    query: str
    output: Path | None
    explain: bool
    timeout: float
    memory: int | None
    limit: int | None
    style: str


@click.command()
@click.argument("query")
@click.option(
    "--output",
    type=OutputPath(path_type=Path, dir_okay=False),
    metavar="FILE.parquet|csv|json",
    help="Write the rows into a file instead.",
)
@click.option("--explain", is_flag=True, help="Print DuckDB's plan of the query instead.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, DAY, min_open=True),
    callback=a_number,
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Stop a query that takes longer.",
)
@click.option(
    "--memory",
    callback=_bytes,
    metavar="SIZE",
    help="Stop a query that takes more, as 2GB.  [default: a quarter of the machine's]",
)
@click.option(
    "--limit", type=click.IntRange(1, MOST_ROWS), metavar="N", help="At most the first N rows."
)
@format_option
@pass_session
@as_one(Arguments)
def command(session: Session, arguments: Arguments) -> None:
    """Run a query over the warehouse, read-only and without access to files.

    'indelible schema' says what can be asked. Rows are printed while the query runs.

    \b
    Example:
      indelible sql "select algorithm, avg(steps) from outcomes group by algorithm"
      indelible sql "from outcomes" --output outcomes.parquet
    """
    output, limit = arguments.output, arguments.limit
    if arguments.explain:
        refuse(["output", "limit", "style"], "with --explain")
    if output is not None:
        refuse(["style"], "with --output, whose name says it")
    if output is not None and output.suffix[1:] not in KINDS:
        raise UserError(f"--output is {output}: its name ends in {', '.join(KINDS)}")
    query = _utf8(arguments.query)
    memory = arguments.memory or machine_memory() // 4
    with session.warehouse(Limits(arguments.timeout, memory)) as warehouse:
        if arguments.explain:
            click.echo(warehouse.explain(query))
        elif output is not None:
            rows = _write(warehouse, query, output, limit)
            click.echo(f"{rows} rows in {output}", err=True)
        else:
            with warehouse.stream(query, limit) as stream:
                _show(stream, arguments.style)


def _show(stream: Stream, style: str) -> None:
    if stream.is_plan and style == "table":  # whose lines a cell has no room for
        for block in stream.blocks:
            click.echo("\n".join(str(plan) for _, plan in block))
        return
    show_blocks(_records(stream), style)


def _utf8(argument: str) -> str:
    """An argument as it was given, also where the locale has no such letters."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        try:
            return os.fsencode(argument).decode()
        except UnicodeDecodeError as error:
            raise UserError("the query is not text in UTF-8") from error
    return argument


def _records(stream: Stream) -> Iterator[list[dict[str, Any]]]:
    for block in stream.blocks:
        yield [dict(zip(stream.columns, row, strict=True)) for row in block]


def _write(warehouse: Warehouse, query: str, path: Path, limit: int | None) -> int:
    """Write the rows of a query into a file, while they come; how many there were."""
    kind = path.suffix[1:]
    with draft_of(path) as draft:
        if kind == "parquet":
            return _write_parquet(warehouse, query, draft, limit)
        with warehouse.stream(query, limit) as stream, draft.open("w", encoding="utf-8") as file:
            blocks = Counted(_records(stream))
            file.writelines(texts(blocks, kind))
            return blocks.rows


def _write_parquet(warehouse: Warehouse, query: str, path: Path, limit: int | None) -> int:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    for column, kind in warehouse.types(query):
        if "HUGEINT" in kind:
            raise UserError(
                f"Parquet cannot hold a column: '{column}' is {kind}, whole numbers of 128 bits; "
                "cast it to another"
            )
    with warehouse.arrow(query, limit) as stream:
        batches = Counted(stream.batches)
        try:
            with ParquetWriter(path, stream.schema) as file:
                for batch in batches:
                    file.write_batch(batch)
        except pa.ArrowException as error:
            raise UserError(f"Parquet cannot hold a column: {error}; cast it to another") from error
        return batches.rows
