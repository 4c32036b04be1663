"""The factors there are."""

from __future__ import annotations

import dataclasses

import click

from tracker.cli._options import format_option
from tracker.cli._output import only, show


@click.command()
@format_option
def command(style: str) -> None:
    """List the factors: what they measure, and when they are undefined (NULL).

    `pre` factors need the base model only, `post` factors the unlearned one. `harder` says which
    values go with samples that are hard to unlearn.

    \b
    Example:
      indelible factors --format csv
    """
    import factors

    rows = []
    for column in factors.columns():
        row = {**dataclasses.asdict(column), "provider": factors.provider(column.family)}
        rows.append({name: str(value) if value else None for name, value in row.items()})
    shown = only(rows, "name", "family", "phase", "unit", "harder", "description")
    shown = [
        {**cells, "family": f"{row['family']}; {row['provider']}"} if row["provider"] else cells
        for row, cells in zip(rows, shown, strict=True)
    ]
    show(rows, style, shown)
