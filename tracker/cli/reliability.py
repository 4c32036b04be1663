"""How far GT agrees with itself under other seeds, which bounds every correlation with it."""

from __future__ import annotations

from typing import Any

import click

from tracker.cli._options import format_option
from tracker.cli._output import show
from tracker.cli._session import Session, pass_session

SHOWN = ("varied", "dataset", "algorithm", "repeats", "n")
MORE = ("spearman_brown", "split_half", "icc")
NONE = (
    "no sweep was repeated yet: give 'indelible sweep' --repeats N, "
    "or a base model of 'indelible train' with another --seed"
)


@click.command()
@format_option
@pass_session
def command(session: Session, style: str) -> None:
    """How far GT agrees with itself when a sweep is repeated with other seeds.

    There is a row for each algorithm, with its settings, that was repeated: with other seeds of
    unlearning from one base model, or from base models that were trained with other seeds.

    Mean rho is Spearman's rho of GT between two repeats, averaged over all pairs of them. Its
    square root, the ceiling, is the highest rho with one measurement of GT that can be expected:
    of factors that are known before unlearning, where the seed of unlearning was varied, and of
    factors that do not look at the base model, where the base model was varied.

    Both have 95% intervals by bootstrap, over the samples and, with four repeats or more, over the
    repeats too. A ceiling whose interval reaches 0 is not distinguishable from 0: do not use it.

    Spearman-Brown is the reliability of the mean of GT over all repeats, split half the same from
    two halves of them, and icc is ICC(2,1). csv and json also have the settings and ids.

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
    from analysis.statistics import FEWEST_REPEATS

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
