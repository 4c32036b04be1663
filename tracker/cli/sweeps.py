"""List the sweeps in the store."""

from __future__ import annotations

import click

from tracker.cli._options import format_option
from tracker.cli._output import only, show
from tracker.cli._session import Session, pass_session


@click.command()
@format_option
@pass_session
def command(session: Session, style: str) -> None:
    """List the sweeps in the store, newest first.

    The table shows the main columns, csv and json all of them; versions of the engine, and
    precisions, where there are several: their numbers are never compared.

    \b
    Example:
      indelible sweeps --format json
    """
    with session.reader() as reader:
        from tracker.reading.listing import sweeps

        rows = sweeps(reader)
    told_apart = [
        name for name in ("engine_version", "precision") if len({row[name] for row in rows}) > 1
    ]
    show(rows, style, only(rows, "run_id", "name", *told_apart, "status", "started"))
