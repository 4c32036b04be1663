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

    rows = [dataclasses.asdict(column) for column in factors.columns()]
    rows = [{name: value or None for name, value in row.items()} for row in rows]
    show(rows, style, only(rows, "name", "family", "phase", "unit", "harder", "description"))
