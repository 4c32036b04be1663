"""Any question to the warehouse."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indelible.errors import UserError
from indelible.tracker.cli._options import format_option
from indelible.tracker.cli._output import as_text, show, write_whole
from indelible.tracker.cli._session import Session, pass_session

if TYPE_CHECKING:
    import pyarrow as pa

    from indelible.analysis.warehouse import Warehouse

KINDS = ("parquet", "csv", "json")


@click.command()
@click.argument("query")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.parquet|csv|json",
    help="Write the rows into a file instead.",
)
@click.option("--explain", is_flag=True, help="Print DuckDB's plan of the query instead.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most the first N rows.")
@format_option
@pass_session
def command(
    session: Session,
    query: str,
    output: Path | None,
    explain: bool,
    timeout: float | None,
    limit: int | None,
    style: str,
) -> None:
    """Run a query over the warehouse, read-only and without access to files.

    'indelible schema' says what can be asked.

    \b
    Example:
      indelible sql "select algorithm, avg(steps) from outcomes group by algorithm"
      indelible sql "from outcomes" --output outcomes.parquet
    """
    if output is not None and output.suffix[1:] not in KINDS:
        raise UserError(f"--output is {output}: its name ends in {', '.join(KINDS)}")
    with session.warehouse() as warehouse:
        if explain:
            click.echo(warehouse.explain(query))
        elif output is None:
            found = warehouse.query(query, limit, timeout).records()
            show(found, style, headings=False)
        else:
            rows, content = _content(warehouse, query, output.suffix[1:], limit, timeout)
            write_whole(output, content)
            click.echo(f"{rows} rows in {output}", err=True)


def _content(
    warehouse: Warehouse, query: str, kind: str, limit: int | None, timeout: float | None
) -> tuple[int, bytes]:
    """The rows of a query as a file, and how many there are."""
    if kind == "parquet":
        table = warehouse.arrow(query, timeout).slice(0, limit)
        return len(table), _parquet(table)
    found = warehouse.query(query, limit, timeout).records()
    return len(found), as_text(found, kind).encode()


def _parquet(table: pa.Table) -> bytes:
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()
