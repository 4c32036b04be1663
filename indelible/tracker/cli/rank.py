"""The hardest samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from indelible.errors import UserError
from indelible.tracker.cli._options import MOST_ROWS, format_option, sweep_option
from indelible.tracker.cli._output import show
from indelible.tracker.cli._session import Session, pass_session

PERCENTILES = ("percentile", "mean_percentile")


@click.command()
@sweep_option
@click.option("--algorithm", metavar="NAME", help="Rank for one algorithm, not over all of them.")
@click.option(
    "--top", type=click.IntRange(1, MOST_ROWS), default=10, show_default=True, help="How many."
)
@click.option("--easiest", is_flag=True, help="The easiest samples instead of the hardest.")
@format_option
@pass_session
def command(
    session: Session, sweep: str, algorithm: str | None, top: int, easiest: bool, style: str
) -> None:
    """Samples by difficulty: rank 1 has the smallest GT, and its percentile is near 100.

    Without --algorithm samples are ordered by their mean percentile of difficulty over the
    sweep's algorithms, and the columns are their ranks with each.

    \b
    Example:
      indelible rank --algorithm salun --top 20
    """
    with session.warehouse() as warehouse:
        which = {"sweep": session.sweep_id(warehouse, sweep), "top": top, "easiest": easiest}
        if algorithm is None:
            rows = side_by_side(warehouse.report("rank_overall", **which).records())
        else:
            names = [row[0] for row in warehouse.report("statuses", sweep=which["sweep"]).rows]
            if algorithm not in names:
                raise UserError(f"the sweep has no '{algorithm}', but {', '.join(names)}")
            rows = warehouse.report("rank", algorithm=algorithm, **which).records()
    kind = "easiest" if easiest else "hardest"
    table = [_rounded(row) for row in rows]
    show(rows, style, table, f"The {kind} samples{f' for {algorithm}' if algorithm else ''}")


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """A row with percentiles as a table shows them."""
    return {name: f"{v:.1f}" if name in PERCENTILES else v for name, v in row.items()}


def side_by_side(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """From a row a sample and algorithm to a row a sample, with the rank for each algorithm."""
    algorithms = sorted({row["algorithm"] for row in rows})
    table: dict[int, dict[str, Any]] = {}
    for row in rows:
        shared = {name: row[name] for name in ("sample_id", "label", "mean_percentile")}
        blank = {f"rank_{name}": None for name in algorithms}
        cells = table.setdefault(row["sample_id"], shared | blank)
        cells[f"rank_{row['algorithm']}"] = row["difficulty_rank"]
    return list(table.values())
