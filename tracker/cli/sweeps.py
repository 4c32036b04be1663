"""List the sweeps in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tracker.cli._options import format_option
from tracker.cli._output import only, show, with_short_ids
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
    names = ("run_id", "name", "algorithms", "samples", *told_apart, "status", "started")
    shown = [row | _counted(row) for row in only(rows, *names)]
    show(rows, style, with_short_ids(shown, "run_id"), below=("algorithms",))


def _counted(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a run has as text: how many samples, and the names of the algorithms."""
    samples, algorithms = row["samples"], row["algorithms"]
    return {
        "samples": samples and int(samples),
        "algorithms": algorithms and algorithms.replace(",", ", "),
    }
