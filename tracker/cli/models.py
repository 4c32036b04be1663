"""List the base models in the store."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli._completing import runs_completed
from tracker.cli._options import OutputPath, format_option, refuse
from tracker.cli._output import only, show, with_short_ids
from tracker.cli._session import Session, pass_session
from unlearning.naming import LATEST


@click.command()
@click.option(
    "--export",
    "folder",
    type=OutputPath(path_type=Path),
    metavar="DIR",
    help="Write a base model, with what is kept beside it, as a new store into this folder.",
)
@click.option(
    "--model",
    metavar="MODEL",
    shell_complete=runs_completed("base_model", LATEST),
    help="Which to export: its name, id, or the beginning of its id.  [default: latest]",
)
@format_option
@pass_session
def command(session: Session, folder: Path | None, model: str | None, style: str) -> None:
    """List the base models in the store, newest first.

    The table shows the main columns, csv and json all of them.

    With --export one is written as a store that has nothing else, to be copied to machines that
    have no network: they sweep into it, and 'indelible merge' brings what they did back. A base
    model that was exported elsewhere is imported by 'indelible merge' as well.

    \b
    Example:
      indelible models
      indelible models --export for-the-cluster --model latest
    """
    if folder is None:
        refuse(["model"], "without --export")
    else:
        _export(session, folder, model or LATEST, style)
        return
    with session.reader() as reader:
        from tracker.reading.listing import models

        rows = models(reader)
    shown = only(rows, "run_id", "name", "test_accuracy", "started")
    show(rows, style, with_short_ids(shown, "run_id"))


def _export(session: Session, folder: Path, reference: str, style: str) -> None:
    with session.reader() as reader:
        from tracker.reading.merging import export

        run = export(reader, reference, folder)
    rows = [{"run_id": run.run_id, "name": run.name, "store": str(folder)}]
    show(rows, style, with_short_ids(rows, "run_id"))
