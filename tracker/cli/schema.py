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
    from analysis.meanings import Described

WIDEST = 100


@click.command()
@click.argument("relation", required=False)
@format_option
@pass_session
def command(session: Session, relation: str | None, style: str) -> None:
    """The relations of the warehouse: what a row is, the columns with their types, and a query.

    Of one relation it says what each column means. csv and json have a row a column. A shell finds
    the same texts in duckdb_tables(), duckdb_views() and duckdb_columns(), as comments.

    \b
    Example:
      indelible schema correlations
    """
    from analysis.warehouse import described

    with session.warehouse() as warehouse:
        relations = described(warehouse)
    names = {item.name.partition("(")[0]: item for item in relations}
    if relation is not None and relation not in names:
        near = nearest(relation, names)
        raise UserError(f"there is no relation '{relation}'{near}, but {', '.join(names)}")
    chosen = relations if relation is None else [names[relation]]
    if style == "table":
        click.echo("\n\n".join(_paragraph(item, whole=relation is not None) for item in chosen))
        return
    show([row for item in chosen for row in _rows(item)], style)


def _rows(item: Described) -> list[dict[str, str]]:
    """A row a column, for machines."""
    about = {"meaning": item.meaning, "example": item.example}
    return [
        {"relation": item.name, "column": c.name, "type": c.type, "column_meaning": c.meaning}
        | about
        for c in item.columns
    ]


def _paragraph(item: Described, whole: bool) -> str:
    """A relation as text for people.

    Args:
        whole: whether each column has a line of its own, which says what it means.
    """
    if whole:
        columns = "\n".join(_indented(f"{c.name} {c.type}: {c.meaning}", 8) for c in item.columns)
    else:
        columns = _indented(", ".join(f"{c.name} {c.type}" for c in item.columns))
    query = _indented(f'indelible sql "{item.example}"')
    return "\n".join([item.name, _indented(item.meaning), columns, query])


def _indented(text: str, more: int = 4) -> str:
    """A text in lines, of which those after the first are indented by so many letters."""
    width = min(shutil.get_terminal_size().columns, WIDEST) if sys.stdout.isatty() else WIDEST
    return textwrap.fill(
        text,
        width,
        initial_indent="    ",
        subsequent_indent=" " * more,
        break_long_words=False,
        break_on_hyphens=False,
    )
