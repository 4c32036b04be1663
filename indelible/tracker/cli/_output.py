"""How commands print data (stdout) and progress (stderr)."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from indelible.errors import UserError

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Shade:
    """A cell with a style that is seen on a terminal only."""

    text: str
    style: str

    @classmethod
    def by_sign(cls, text: str, value: float | None) -> Shade:
        """Blue above zero and red below, pale where it is little and bold where it is much."""
        strength, colour = abs(value or 0.0), "blue" if (value or 0.0) > 0 else "red"
        weight = "bold " if strength >= 0.6 else ""
        return cls(text, "dim" if strength < 0.1 else weight + colour)

    def __str__(self) -> str:
        return self.text


def show(
    rows: Rows,
    style: str,
    table: Rows | None = None,
    title: str | None = None,
    headings: bool = True,
) -> None:
    """Print rows as data.

    Args:
        table: what the table shows, where it differs from the data.
        headings: whether names become words, or stay as a query needs them.
    """
    if style in ("json", "csv"):
        click.echo(as_text(rows, style), nl=False)
    else:
        _show_table(rows if table is None else table, title, headings)


def as_text(rows: Rows, style: str) -> str:
    """Rows as `json` or `csv`."""
    plain = [_plain(row) for row in rows]
    return _csv(plain) if style == "csv" else json.dumps(plain, indent=2, default=str) + "\n"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, or leave what was there. Raises UserError if it cannot be written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def marked(row: Mapping[str, Any]) -> str:
    """A factor's title, with a dagger where GT is made of it."""
    return f"{row['title']}{' †' if row['ingredient'] else ''}"


def only(rows: Rows, *names: str) -> Rows:
    """The rows with these columns, where a table has no room for more."""
    return [{name: row[name] for name in names} for row in rows]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON and CSV have them: what is not finite is nothing."""
    return {
        name: value.isoformat()
        if isinstance(value, datetime)
        else None
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for name, value in row.items()
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _show_table(rows: Rows, title: str | None, headings: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    if not rows:
        click.echo("nothing to show", err=True)
        return
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", show_edge=False)
    for name, value in rows[0].items():
        number = isinstance(value, (int, float)) or name in ("p_value", "rho")
        heading = name.replace("_", " ") if headings else name
        words = [heading, *(_cell(row[name]) for row in rows)]
        widest = max(len(word) for text in words for word in text.split(" "))
        table.add_column(heading, justify="right" if number else "left", min_width=widest)
    for row in rows:
        table.add_row(*(Text(_cell(value), getattr(value, "style", "")) for value in row.values()))
    console = Console(highlight=False, markup=False, emoji=False)
    unlimited = console.options.update(width=1000)
    widths = Measurement.get(console, unlimited, table)
    # Words are never broken, and a pipe has no edge to wrap at.
    least = widths.minimum if console.is_terminal else widths.maximum
    console.width = max(console.width, least) if console.is_terminal else least
    console.print(table, crop=False)


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
