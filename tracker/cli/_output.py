"""How commands print data (stdout) and progress (stderr)."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import click

from tracker.cli._streams import Output, escaped
from tracker.cli._tables import Cell, Rows, TablePrinter, console
from tracker.face.progress import terminal_bar
from unlearning.naming import shortest

EVERY_S = 5.0  # between two lines that say how far a piece of work is
DUMB = ("dumb", "unknown")  # terminals
KEYS = (str, int, float, bool)  # types of keys that JSON can write


def show(
    rows: Rows,
    style: str,
    table: Rows | None = None,
    title: str | None = None,
    below: Sequence[str] = (),
) -> None:
    """Print rows as data.

    Args:
        table: what the table shows, where it differs from the data.
        below: columns that stand below their row where a terminal has no room beside it.
    """
    shown = table if table is not None and style == "table" else rows
    _show_blocks([shown] if shown else [], style, TablePrinter(title, below=below))


def show_blocks(blocks: Iterable[Rows], style: str) -> None:
    """Print the rows of a query while they come; blocks are never empty."""
    _show_blocks(blocks, style, TablePrinter(headings=False))


def _show_blocks(blocks: Iterable[Rows], style: str, table: TablePrinter) -> None:
    if style != "table":
        for text in texts(blocks, style):
            _print_data(text)
        return
    for block in blocks:
        table.print(block)
    if table.is_empty:
        click.echo("nothing to show", err=True)


def texts(blocks: Iterable[Rows], style: str) -> Iterator[str]:
    """Rows as `json` or `csv`, piece by piece; blocks are never empty."""
    plain = ([_plain(row) for row in block] for block in blocks)
    return _csv(plain) if style == "csv" else _json(plain)


def named(row: Mapping[str, Any]) -> dict[str, str]:
    """A factor's name in SQL and its title, with a dagger where GT is made of it."""
    return {"factor": row["factor"], "title": f"{row['title']}{' †' if row['ingredient'] else ''}"}


def with_short_ids(rows: Rows, *names: str) -> list[dict[str, Any]]:
    """The rows with ids in these columns that a terminal without room for them may shorten."""
    shown = [dict(row) for row in rows]
    for name in names:
        short = shortest({str(row[name]) for row in rows})
        for row in shown:
            row[name] = Cell(str(row[name]), short=short[str(row[name])])
    return shown


def only(rows: Rows, *names: str) -> list[dict[str, Any]]:
    """The rows with these columns, where a table has no room for more."""
    return [{name: row[name] for name in names} for row in rows]


def without(rows: Rows, name: str) -> list[dict[str, Any]]:
    """The rows without a column."""
    return [{key: value for key, value in row.items() if key != name} for row in rows]


def _print_data(text: str) -> None:
    stream = sys.stdout
    stream.data(text) if isinstance(stream, Output) else stream.write(text)


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


def _json(blocks: Iterable[Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """One list of objects, a block at a time."""
    before = "["
    for block in blocks:
        objects = [{name: _strict(value) for name, value in row.items()} for row in block]
        text = json.dumps(objects, indent=2, default=str)
        yield before + text.removeprefix("[").removesuffix("\n]")
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def _strict(value: Any) -> Any:
    """A nested value in the numbers and keys that JSON has."""
    if isinstance(value, Mapping):
        keys = [k if isinstance(k, KEYS) or k is None else str(k) for k in value]
        return dict(zip(keys, map(_strict, value.values()), strict=True))
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(value: Any) -> Any:
    """A value as a cell of CSV: what is nested as JSON."""
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(_strict(value), default=str)
    return value


def _csv(blocks: Iterable[Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    text, writer = io.StringIO(), None
    for block in blocks:
        if writer is None:
            writer = csv.DictWriter(text, fieldnames=list(block[0]), lineterminator="\n")
            writer.writeheader()
        writer.writerows({name: _flat(value) for name, value in row.items()} for row in block)
        yield text.getvalue()
        text.seek(0)
        text.truncate()


@contextmanager
def progress(title: str, total: int, unit: str = "") -> Iterator[Callable[[int, str], None]]:
    """How far a piece of work is, on stderr; the function moves it on and says what is done.

    A bar with rate and time left on a terminal, else a line now and then: also where NO_COLOR is
    set or the terminal is a dumb one, which cannot move its cursor.

    Args:
        unit: what is counted, where a line has to say it.
    """
    if not (sys.stderr.isatty() and _draws_bars()):
        lines = _Lines(title, total, unit)
        yield lines.advance
        lines.end()
        return
    with terminal_bar(escaped(title), total, console(sys.stderr)) as advance:
        yield lambda count, doing: advance(count, escaped(doing))


def _draws_bars() -> bool:
    """Whether the environment lets a terminal be drawn on."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "").lower() not in DUMB


class _Lines:
    """A plain line every few seconds, and one when all is done or there is no more to come."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done = self._done_before = 0
        self._doing = ""
        self._said = monotonic()

    def advance(self, count: int, doing: str) -> None:
        """So much more is done."""
        self._done, self._doing = min(self._done + count, self._total), doing
        is_due = monotonic() - self._said >= EVERY_S
        if count and (is_due or self._done == self._total):
            self.say()

    def end(self) -> None:
        """Write where it is, if that was not said."""
        if not self._done or self._done != self._done_before:
            self.say()

    def say(self) -> None:
        """Write where it is."""
        now, more = monotonic(), self._done - self._done_before
        parts = [f"{self._unit}{self._done} of {self._total}", self._doing]
        if more and self._done < self._total:
            seconds = (now - self._said) / more * (self._total - self._done)
            parts.append(f"{timedelta(seconds=round(seconds))} left")
        self._said, self._done_before = now, self._done
        click.echo(f"{self._title}: {', '.join(filter(None, parts))}", err=True)
