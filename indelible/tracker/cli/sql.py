"""Any question to the warehouse."""

from __future__ import annotations

import click

from indelible.tracker.cli._output import format_option, show
from indelible.tracker.cli._session import Session, pass_session


@click.command()
@click.argument("query")
@format_option
@pass_session
def command(session: Session, query: str, style: str) -> None:
    """Run a query over the warehouse, read-only and without access to files.

    \b
    Example:
      indelible sql "select algorithm, avg(steps) from outcomes group by algorithm"
    """
    with session.warehouse() as warehouse:
        rows = warehouse.query(query).records()
    show(rows, style, headings=False)
