"""The relations of the warehouse, for `indelible sql`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from tracker.cli._options import format_option
from tracker.cli._output import show
from tracker.cli._session import Session, pass_session
from unlearning.errors import UserError
from unlearning.naming import nearest

if TYPE_CHECKING:
    from analysis.relations import Described

WIDEST = 100


@click.command()
@click.argument("relation", required=False)
@format_option
@pass_session
def command(session: Session, relation: str | None, style: str) -> None:
    """The relations of the warehouse: what a row is, the columns with their types, and a query.

    csv and json have a row a column.

    \b
    Example:
      indelible schema correlations
    """
    from analysis.relations import described

    with session.warehouse() as warehouse:
        relations = described(warehouse)
    names = {item.name.partition("(")[0]: item for item in relations}
    if relation is not None and relation not in names:
        near = nearest(relation, names)
        raise UserError(f"there is no relation '{relation}'{near}, but {', '.join(names)}")
    chosen = relations if relation is None else [names[relation]]
    if style == "table":
        click.echo("\n\n".join(_paragraph(item) for item in chosen))
        return
    show([row for item in chosen for row in _rows(item)], style)


def _rows(item: Described) -> list[dict[str, str]]:
    """A row a column, for machines."""
    about = {"meaning": item.meaning, "example": item.example}
    return [{"relation": item.name, "column": c, "type": kind, **about} for c, kind in item.columns]


def _paragraph(item: Described) -> str:
    """A relation as text for people."""
    columns = ", ".join(f"{name} {kind}" for name, kind in item.columns)
    example = f'indelible sql "{item.example}"'
    return "\n".join([item.name, *map(_indented, (item.meaning, columns, example))])


def _indented(text: str) -> str:
    width = min(shutil.get_terminal_size().columns, WIDEST) if sys.stdout.isatty() else WIDEST
    return textwrap.fill(
        text,
        width,
        initial_indent="    ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
