"""How commands print data (stdout) and progress (stderr)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

format_option = click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print the data; json is a list of objects.",
)

sweep_option = click.option(
    "--sweep",
    default="latest",
    show_default=True,
    metavar="ID",
    help="The sweep to look at ('indelible sweeps' lists them).",
)

Rows = Sequence[Mapping[str, Any]]


def show(rows: Rows, style: str, table: Rows | None = None, title: str | None = None) -> None:
    """Print rows as data; `table` is what the table shows where it differs from the data."""
    if style == "json":
        click.echo(json.dumps([_plain(row) for row in rows], indent=2, allow_nan=False))
    elif style == "csv":
        click.echo(_csv([_plain(row) for row in rows]), nl=False)
    else:
        _show_table(rows if table is None else table, title)


def only(rows: Rows, *names: str) -> Rows:
    """The rows with these columns, where a table has no room for more."""
    return [{name: row[name] for name in names} for row in rows]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()}


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _show_table(rows: Rows, title: str | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 1000  # a pipe has no edge to wrap at
    if not rows:
        click.echo("nothing to show", err=True)
        return
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", show_edge=False)
    for name, value in rows[0].items():
        number = isinstance(value, (int, float)) or name in ("p_value", "rho")
        table.add_column(
            name.replace("_", " "),
            justify="right" if number else "left",
            no_wrap=name.endswith("_id"),  # it is there to be copied
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"
    return str(value)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar on stderr with rate and time left; the function moves it on and says what is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeLeft(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, rate="")

        def advance(count: int, doing: str) -> None:
            bar.update(task, advance=count, description=f"{title} {doing}")
            speed = bar.tasks[task].speed
            bar.update(task, rate=f"{speed:.1f}/s" if speed else "")

        yield advance
