"""List the base models in the store."""

from __future__ import annotations

import click

from tracker.cli._options import format_option
from tracker.cli._output import only, show, with_short_ids
from tracker.cli._session import Session, pass_session


@click.command()
@format_option
@pass_session
def command(session: Session, style: str) -> None:
    """List the base models in the store, newest first.

    The table shows the main columns, csv and json all of them.

    \b
    Example:
      indelible models
    """
    with session.reader() as reader:
        from tracker.reading.listing import models

        rows = models(reader)
    shown = only(rows, "run_id", "name", "test_accuracy", "started")
    show(rows, style, with_short_ids(shown, "run_id"))
