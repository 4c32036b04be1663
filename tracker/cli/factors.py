"""The factors there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import click

from tracker.cli._options import format_option
from tracker.cli._output import show
from tracker.cli._session import Session, pass_session
from unlearning.errors import Failure, UserError

BELOW = ("family", "unit", "description")  # columns for which a terminal may have no room
LEAST = 0.001  # of an attempt, below which a table says no more than that


@click.command()
@format_option
@pass_session
def command(session: Session, style: str) -> None:
    """List the factors: what they measure, and when they are undefined (NULL).

    `pre` factors need the base model only, `post` factors the unlearned one. `harder` says which
    values go with samples that are hard to unlearn. `cost` says how many times the steps of one
    attempt with ga a `pre` factor took for one sample, with all of its family: where the warehouse
    knows it, on the newest base model.

    \b
    Example:
      indelible factors --format csv
    """
    import factors

    rows, costs = [], _costs(session)
    for column in factors.columns():
        row = {**dataclasses.asdict(column), "provider": factors.provider(column.family)}
        row |= {"cost": costs.get(column.family) if column.phase == "pre" else None}
        rows.append({name: str(value) if value else None for name, value in row.items()})
    names = ("name", "title", "phase", "harder", *(("cost",) if costs else ()), *BELOW)
    shown = [_shown(row, names) for row in rows]
    show(rows if costs else [_without_cost(row) for row in rows], style, shown, below=BELOW)


def _shown(row: Mapping[str, str | None], names: Sequence[str]) -> dict[str, str | None]:
    """What a table has room for, with who brings the family if it is not ours."""
    told = dict(row)
    if row["provider"]:
        told["family"] = f"{row['family']}; {row['provider']}"
    if cost := row["cost"]:
        told["cost"] = f"{float(cost):.2g}x" if float(cost) >= LEAST else f"<{LEAST:g}x"
    return {name: told[name] for name in names}


def _without_cost(row: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name: value for name, value in row.items() if name != "cost"}


def _costs(session: Session) -> dict[str, float]:
    """What a family takes for a sample, in attempts with ga; empty where that is not known."""
    from analysis.warehouse import open_warehouse

    try:
        with open_warehouse(session.warehouse_path) as warehouse:
            return dict(warehouse.report("costs").rows)
    except (UserError, Failure):  # there is none, it is of another version, or it is being written
        return {}
