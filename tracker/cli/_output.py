"""What commands print: data on stdout as a table, csv or json; remarks and progress on stderr.

Values of the user's data cannot steer a terminal: control characters are written out.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracker.api import progress as bars
from unlearning.naming import shortest

# Control characters (C0, DEL and C1) and what turns the direction of text; all but those of lines.
STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]\d+)?[%x*]?|-|")
ENDLESS = 10**9  # characters in a line of a pipe
NARROW = 12  # text is not folded into a column that is narrower; the first one has twice as much
GAP = 2  # characters between two columns

Rows = Sequence[Mapping[str, Any]]


def escaped(text: str, which: re.Pattern[str] = STEERING) -> str:
    """Text whose control characters are written out."""
    return which.sub(lambda match: repr(match[0])[1:-1], text)


def say(line: str) -> None:
    """A remark, on stderr; on a terminal no line of it is broken within a word."""
    console(sys.stderr).print(Text(escaped(line, LINES)))


def progress(
    title: str, total: int, unit: str = ""
) -> AbstractContextManager[Callable[[int, str], None]]:
    """How far a piece of work is; the function moves it on and says what is done.

    Args:
        unit: what is counted, where a line has to say it.
    """
    return bars.progress(escaped(title), total, say, unit)


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
        below: columns that stand below the first one where a terminal has no room beside it.
    """
    if style != "table":
        _write(texts([rows] if rows else [], style))
    elif shown := rows if table is None else table:
        print_table(shown, title, below)
    else:
        say("nothing to show")


def show_blocks(blocks: Iterable[Rows], style: str) -> None:
    """Print the rows of a query while they come; blocks are never empty."""
    if style != "table":
        _write(texts(blocks, style))
        return
    is_first = True
    for block in blocks:
        print_table(block, is_head=is_first, in_words=False)
        is_first = False
    if is_first:
        say("nothing to show")


def _write(parts: Iterable[str]) -> None:
    """Data: on a terminal it cannot steer it, elsewhere it is UTF-8 whatever the locale."""
    is_terminal = sys.stdout.isatty()
    if not is_terminal and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    for text in parts:
        sys.stdout.write(escaped(text, LINES) if is_terminal else text)


def texts(blocks: Iterable[Rows], style: str) -> Iterator[str]:
    """Rows as `json`, one list of objects, or `csv`, piece by piece; blocks are never empty."""
    is_first = True
    for block in blocks:
        rows = [_strict(row) for row in block]
        if style == "json":
            objects = json.dumps(rows, indent=2, default=str)
            yield ("[" if is_first else ",") + objects[1:-2]
        else:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            if is_first:
                writer.writeheader()
            writer.writerows({name: _flat(value) for name, value in row.items()} for row in rows)
            yield text.getvalue()
        is_first = False
    if style == "json":
        yield "[]\n" if is_first else "\n]\n"


def _strict(value: Any) -> Any:
    """A value in the numbers, times and keys that JSON has: what is not finite is nothing."""
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, (str, int, float)) or key is None else str(key): _strict(each)
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_strict(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if isinstance(value, datetime) else value


def _flat(value: Any) -> Any:
    """A value as a cell of CSV: what is nested as JSON."""
    return json.dumps(value, default=str) if isinstance(value, (dict, list)) else value


# Rows for tables


def named(row: Mapping[str, Any]) -> dict[str, str]:
    """A factor's name in SQL and its title, with a dagger where GT is made of it."""
    return {"factor": row["factor"], "title": f"{row['title']}{' †' if row['ingredient'] else ''}"}


def with_short_ids(rows: Rows, *names: str) -> list[dict[str, Any]]:
    """The rows with the shortest beginnings of the ids in these columns that tell them apart."""
    shown = [dict(row) for row in rows]
    for name in names:
        short = shortest({str(row[name]) for row in rows})
        for row in shown:
            row[name] = short[str(row[name])]
    return shown


def only(rows: Rows, *names: str) -> list[dict[str, Any]]:
    """The rows with these columns, where a table has no room for more."""
    return [{name: row[name] for name in names} for row in rows]


def without(rows: Rows, name: str) -> list[dict[str, Any]]:
    """The rows without a column."""
    return [{key: value for key, value in row.items() if key != name} for row in rows]


def by_sign(text: str, value: float | None) -> Text:
    """A cell: blue above zero and red below, pale where it is little and bold where it is much."""
    strength, colour = abs(value or 0.0), "blue" if (value or 0.0) > 0 else "red"
    weight = "bold " if strength >= 0.6 else ""
    return Text(text, "dim" if strength < 0.1 else weight + colour)


# Tables for people


def console(stream: TextIO) -> Console:
    """Rich's way to a stream: as wide as a terminal, or as COLUMNS says, and endless in a pipe."""
    width = None if stream.isatty() or os.environ.get("COLUMNS") else ENDLESS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_table(
    rows: Rows,
    title: str | None = None,
    below: Sequence[str] = (),
    is_head: bool = True,
    in_words: bool = True,
    stream: TextIO | None = None,
    width: int | None = None,
) -> None:
    """Print rows, of which there is one at least, for people.

    Where a row is too wide, text is folded; where it still is, each value has a line.

    Args:
        is_head: whether names stand above. in_words: whether `_` in them becomes a space.
        stream: where to, if not to stdout. width: if it is not the stream's own.
    """
    out = console(stream or sys.stdout)
    out.width = width or out.width
    table, needed = _table(rows, in_words)
    if needed > out.width:
        table, needed = _table(_with_below(rows, below), in_words, is_narrow=True)
    if needed > out.width:
        table = _records(rows, in_words)
    else:
        table.show_header = is_head
    with out.capture() as written:
        if title:
            out.print(Text(escaped(title, LINES), "italic"))
        out.print(table, crop=False)
    out.file.write("\n".join(line.rstrip() for line in written.get().split("\n")))


def _table(rows: Rows, in_words: bool, is_narrow: bool = False) -> tuple[Table, int]:
    """A line a row, and how wide it is at least; where it is narrow, text is folded."""
    table, needed = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False), -GAP
    columns = [[_cell(row[name]) for row in rows] for name in rows[0]]
    for name, cells in zip(rows[0], columns, strict=True):
        is_number = all(NUMBER.fullmatch(cell.plain) for cell in cells)
        head = _head(name, in_words).replace(" ", "\n" if is_narrow and is_number else " ")
        lines = [*head.split("\n"), *(line for cell in cells for line in cell.plain.split("\n"))]
        width = max(map(cell_len, lines))
        is_first, is_folded = not table.columns, is_narrow and not is_number
        least = min(width, 2 * NARROW if is_first else NARROW) if is_folded else width
        needed += GAP + least
        table.add_column(
            head,
            justify="right" if is_number else "left",
            no_wrap=is_number,
            width=least if is_folded and is_first else None,
            min_width=None if is_narrow else width,
            overflow="fold",
        )
    for row_cells in zip(*columns, strict=True):
        table.add_row(*row_cells)
    return table, needed


def _with_below(rows: Rows, below: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with these columns below the first one, in its cell."""
    shown = []
    for row in rows:
        said = "; ".join(_cell(row[name]).plain for name in below if row.get(name))
        (first, value), *others = ((n, v) for n, v in row.items() if n not in below)
        cell = _cell(value)
        shown.append({first: cell.append(f"\n  {said}") if said else cell, **dict(others)})
    return shown


def _records(rows: Rows, in_words: bool) -> Table:
    """A line a value, and an empty one between rows."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for row in rows:
        for name, value in row.items():
            table.add_row(_head(name, in_words), _cell(value))
        table.add_row()
    return table


def _head(name: str, in_words: bool) -> str:
    return escaped(name.replace("_", " ") if in_words else name)


def _cell(value: Any) -> Text:
    """A value as text in one line, with its own style; of ours it may have several lines."""
    return value.copy() if isinstance(value, Text) else Text(escaped(plain(value)))


def plain(value: Any) -> str:
    """A value for people: of a number four significant digits.

    There are more where fewer would be a whole number that it is not.
    """
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if not isinstance(value, float):
        return str(value)
    if value.is_integer():
        return f"{value:.10g}"
    rounded = (f"{value:.{digits}g}" for digits in range(4, 18))
    return next(text for text in rounded if not float(text).is_integer())
