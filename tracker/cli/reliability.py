"""How far can any prediction go?"""

from __future__ import annotations

from typing import Any

import click

from tracker.cli._options import format_option
from tracker.cli._output import show
from tracker.cli._session import Session, pass_session

SHOWN = ("source", "dataset", "algorithm", "repeats", "n")
MORE = ("spearman_brown", "split_half", "icc")
NONE = (
    "no sweep was repeated yet: give 'indelible sweep' --repeats N, "
    "or a base model of 'indelible train' with another --seed"
)


@click.command()
@format_option
@pass_session
def command(session: Session, style: str) -> None:
    """How far the ranking by GT agrees with itself, where only a seed is another.

    A row for each algorithm with its settings that was repeated: with other seeds of unlearning
    from one base model, or from base models that were trained with other seeds. The mean rho is
    Spearman's of GT between two repeats; its root, the ceiling, is the most that can be expected of
    a factor's own rho with one measurement: of a factor that is known before unlearning where seeds
    of unlearning were varied, of one that does not look at the base model where base models were.
    Both have 95% intervals, by bootstrap over the samples and, from four repeats on, over these
    too. A ceiling whose interval reaches 0 is not distinguishable from 0, and no bound to use.
    Spearman-Brown is the reliability of the mean over all repeats,
    split half the same from two halves of them, icc ICC(2,1). csv and json also have settings and
    ids.

    \b
    Example:
      indelible reliability --format json
    """
    with session.warehouse() as warehouse:
        rows = warehouse.report("reliability").records()
    if not rows and style == "table":
        click.echo(NONE, err=True)
        return
    show(rows, style, [_shown(row) for row in rows], "Reliability of GT")
    from analysis.reliability import FEWEST_REPEATS

    if style == "table" and any(row["repeats"] < FEWEST_REPEATS for row in rows):
        click.echo(few_repeats(min(row["repeats"] for row in rows), FEWEST_REPEATS), err=True)


def few_repeats(repeats: int, enough: int) -> str:
    """How little two or three repeats say."""
    pairs = "1 pair" if repeats == 2 else "3 pairs"
    return (
        f"{repeats} repeats are {pairs} of seeds: how far other seeds would differ from them is "
        f"not in the interval; --repeats {enough} or more of 'indelible sweep' would tell"
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a table has it, with its intervals in brackets."""
    return {
        **{name: row[name] for name in SHOWN},
        "mean_rho": _between(row, "mean_rho"),
        "ceiling": "not distinguishable from 0"
        if row["ceiling_low"] == 0
        else _between(row, "ceiling"),
        **{name: row[name] for name in MORE},
    }


def _between(row: dict[str, Any], name: str) -> str | None:
    """A number with its interval."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return None
    ends = "too few samples for an interval" if low is None else f"{low:.2f} to {high:.2f}"
    return f"{value:.4g} ({ends})"
