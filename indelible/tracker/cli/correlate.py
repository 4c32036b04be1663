"""Which factors order the samples as the outcome does?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from indelible.errors import UserError
from indelible.tracker.cli._output import format_option, show, sweep_option
from indelible.tracker.cli._session import Session, pass_session

READINGS = ("set_sizes", "mean_ratio", "one")


@click.command()
@sweep_option
@click.option(
    "--population",
    type=click.Choice(["all", "flipped"]),
    default="all",
    show_default=True,
    help="All members with a GT, or those whose prediction flipped.",
)
@click.option(
    "--lambda",
    "lam",
    default="set_sizes",
    show_default=True,
    metavar="|".join((*READINGS, "X")),
    help="Weight of utility in GT: a reading of the paper's, or a number above zero.",
)
@format_option
@pass_session
def command(session: Session, sweep: str, population: str, lam: str, style: str) -> None:
    """Spearman's rho of every factor against GT, for each algorithm.

    In the table a cell is rho with its p-value in brackets; csv and json have a row a factor and
    algorithm, with n.

    \b
    Example:
      indelible correlate --population flipped --format csv
    """
    fixed = _number(lam)
    with session.warehouse() as warehouse:
        found = warehouse.report(
            "correlate",
            sweep=warehouse.sweep_id(sweep),
            population=population,
            reading=lam if fixed is None else "fixed",
            fixed=fixed,
        ).records()
    show(found, style, as_table(found), f"Spearman's rho with GT (lambda: {lam}, {population})")


def as_table(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a factor and a column an algorithm, as the paper prints it.

    Factors that were not measured at all are left out.
    """
    measured = {row["factor"] for row in found if row["n"]}
    table: dict[str, dict[str, Any]] = {}
    for row in found:
        if row["factor"] not in measured:
            continue
        cells = table.setdefault(row["factor"], {"factor": row["title"]})
        cells[f"{row['algorithm']}"] = _cell(row)
    largest = {"factor": "pairs (at most)"}
    for row in found:
        count = max(int(largest.get(row["algorithm"], 0)), row["n"])
        largest[row["algorithm"]] = str(count)
    return [*table.values(), largest] if table else []


def _cell(row: dict[str, Any]) -> str:
    if row["rho"] is None:
        return str(row["undefined"])
    p = row["p_value"]
    shown = "" if p is None else " (<1e-300)" if p < 1e-300 else f" ({p:.0e})"
    return f"{row['rho']:+.4f}{shown}"


def _number(lam: str) -> float | None:
    if lam in READINGS:
        return None
    try:
        number = float(lam)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise UserError(f"--lambda is '{lam}': it takes {', '.join(READINGS)} or a number above 0")
    return number
