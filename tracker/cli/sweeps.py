"""List the sweeps in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from analysis.statuses import MAX_LOSS
from tracker.cli._options import format_option, max_loss_option
from tracker.cli._output import only, show, with_short_ids
from tracker.cli._session import Session, pass_session

SHOWN = ("attempts", "flipped", "damaged", "mean_points_lost", "worst_points_lost")


@click.command()
@max_loss_option
@format_option
@pass_session
def command(session: Session, max_loss: float, style: str) -> None:
    """List the sweeps in the store, newest first.

    The table shows the main columns, csv and json all of them; versions of the engine, and
    precisions, where there are several: their numbers are never compared. The points of test
    accuracy that were lost are over all attempts of a sweep; with another --max-loss, damaged ones
    are counted in the warehouse.

    \b
    Example:
      indelible sweeps --format json
    """
    with session.reader() as reader:
        from tracker.reading.listing import sweeps

        rows = sweeps(reader)
    if max_loss != MAX_LOSS:
        with session.warehouse() as warehouse:
            damaged = dict(warehouse.report("damage", max_loss=max_loss).rows)
        rows = [
            row if row["flipped"] is None else {**row, "damaged": damaged.get(row["run_id"])}
            for row in rows
        ]
    told_apart = [
        name for name in ("engine_version", "precision") if len({row[name] for row in rows}) > 1
    ]
    names = ("run_id", "name", *told_apart, "status", *SHOWN, "algorithms", "started")
    shown = [_short(row) for row in only(rows, *names)]
    show(rows, style, with_short_ids(shown, "run_id"), below=("algorithms", "started"))


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table, with short headings and points of accuracy to the tenth."""
    names = {"mean_points_lost": "lost", "worst_points_lost": "worst"}
    algorithms = (row["algorithms"] or "").replace(",", ", ")
    return {
        names.get(name, name): f"{value:z.1f}" if isinstance(value, float) else value
        for name, value in {**row, "algorithms": algorithms}.items()
    }
