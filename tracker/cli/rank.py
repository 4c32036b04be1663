"""The hardest samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from analysis.words import under_other_seeds
from tracker.cli._options import MOST_ROWS, completed, format_option, sweep_option
from tracker.cli._output import only, show, without
from tracker.cli._session import Session, pass_session, say
from unlearning import algorithms
from unlearning.errors import UserError
from unlearning.naming import nearest

PERCENTILES = ("percentile", "mean_percentile")
# What a terminal of 80 columns has room for, of the ranks for one algorithm.
SHOWN = ("rank", "tied", "percentile", "sample_id", "label", "gt", "regime", "f")
SHARED = ("sample_id", "sample_path", "label", "mean_percentile", "tied")
TIED = "tied: how many others are as hard"
BY_F = "*: GT is 0, and they stand in the order of f, how far they fell: less is harder"


@click.command()
@sweep_option
@click.option(
    "--algorithm",
    metavar="NAME",
    shell_complete=completed(algorithms.names),
    help="Rank for one algorithm, not over all of them.",
)
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

    Samples with the same GT are tied and share their average rank. Where GT is 0 they are shown in
    the order of f, how far the probability of their label fell: the less, the harder. Regime is
    which of its two aims bounds GT, 'utility' or 'forgetting'; csv and json have more columns,
    such as GT share, which is GT / lambda, the steps and the status.

    Without --algorithm samples are ordered by their mean percentile of difficulty over the
    sweep's algorithms, in a tie by their mean place, and the columns are their ranks with each.
    Algorithms do not count whose order is not known to stay under another seed of unlearning.

    \b
    Example:
      indelible rank --algorithm salun --top 20
    """
    with session.warehouse() as warehouse:
        which = {"sweep": session.sweep_id(warehouse, sweep), "top": top, "easiest": easiest}
        seeds = warehouse.report("seed_agreement", sweep=which["sweep"]).records()
        if algorithm is None:
            rows = side_by_side(warehouse.report("rank_overall", **which).records())
        else:
            names = [row["algorithm"] for row in seeds]
            if algorithm not in names:
                near = nearest(algorithm, names)
                raise UserError(f"the sweep has no '{algorithm}'{near}, but {', '.join(names)}")
            rows = warehouse.report("rank", algorithm=algorithm, **which).records()
    kind = "easiest" if easiest else "hardest"
    table = [_shown(row) for row in rows]
    with_files = any(row["sample_path"] for row in rows)
    if algorithm:
        table = only(table, *SHOWN, *(["sample_path"] if with_files else []))
    elif not with_files:
        table = without(table, "sample_path")
    title = f"The {kind} samples{f' for {algorithm}' if algorithm else ''}"
    show(rows, style, table, title, below=["sample_path"])
    own = [row for row in seeds if algorithm in (None, row["algorithm"])]
    if style == "table" and (remark := under_other_seeds(own)):
        say(remark)
    if style == "table" and any(row["tied"] for row in rows):
        click.echo(TIED, err=True)
        if any(_is_by_f(row) for row in rows):
            click.echo(BY_F, err=True)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a table has it: percentiles rounded, ties marked where F orders them."""
    shown = row | {name: f"{row[name]:.1f}" for name in PERCENTILES if name in row}
    if "difficulty_rank" in row:
        shown["rank"] = row["difficulty_rank"]
    return shown | {"tied": f"{row['tied']}{'*' if _is_by_f(row) else ''}" if row["tied"] else None}


def _is_by_f(row: dict[str, Any]) -> bool:
    return bool(row["tied"]) and row.get("ordered_by") == "f"


def side_by_side(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """From a row a sample and algorithm to a row a sample, with the rank for each algorithm."""
    algorithms = sorted({row["algorithm"] for row in rows})
    table: dict[int, dict[str, Any]] = {}
    for row in rows:
        shared = {name: row[name] for name in SHARED}
        blank = {f"rank_{name}": None for name in algorithms}
        cells = table.setdefault(row["sample_id"], shared | blank)
        cells[f"rank_{row['algorithm']}"] = row["difficulty_rank"]
    return list(table.values())
