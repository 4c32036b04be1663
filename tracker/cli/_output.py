"""What every command is given, and what it prints: data on stdout as a table, csv or json; remarks
and progress on stderr.

Values of the user's data cannot steer a terminal: control characters are written out.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracker.api.place import Advance, Place, progress
from tracker.store.addresses import without_password
from unlearning.naming import shortest

# Control characters (C0, DEL and C1, all but those of lines) and what turns the direction of text.
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]\d+)?[%x*]?|-|")
ENDLESS = 10**9  # characters in a line of a pipe
NARROW = 13  # text is not folded into a column that is narrower
GAP = 2  # characters between two columns
STARTED = time.perf_counter()  # when the command line was imported
DEFAULT_FOLDER = "mlruns"  # of the store, in the working directory

Rows = Sequence[Mapping[str, Any]]


def escaped(text: str) -> str:
    """Text whose control characters are written out; those of lines stay."""
    return STEERING.sub(lambda match: repr(match[0])[1:-1], text)


def say(line: str, whole: bool = False) -> None:
    """A remark, on stderr; on a terminal lines are broken between words, or not if it is whole."""
    console(sys.stderr).print(Text(escaped(line)), soft_wrap=whole)


def show(
    rows: Rows, style: str, table: Rows | None = None, title: str = "", spare: Sequence[str] = ()
) -> None:
    """Print rows as data; a table leaves out columns that have nothing in any row.

    Args:
        table: what the table shows, where it differs from the data.
        spare: columns that a terminal leaves out which has no room for all.
    """
    shown = rows if table is None else table
    if style != "table":
        show_blocks([rows] if rows else [], style)
    elif shown:
        filled = [n for n in shown[0] if any(row[n] not in (None, "") for row in shown)]
        print_table(only(shown, *filled), title, spare)
    else:
        say("nothing to show")


def show_blocks(blocks: Iterable[Rows], style: str) -> None:
    """Print the rows of a query while they come; blocks, a table each, are never empty.

    Csv and json cannot steer a terminal; elsewhere they are UTF-8 whatever the locale.
    """
    if style == "table":
        block: Rows = ()
        for block in blocks:
            print_table(block)
        if not block:
            say("nothing to show")
        return
    is_terminal = sys.stdout.isatty()
    if not is_terminal and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    for text in texts(blocks, style):
        sys.stdout.write(escaped(text) if is_terminal else text)


def texts(blocks: Iterable[Rows], style: str) -> Iterator[str]:
    """Rows as `json`, one list of objects, or `csv`, piece by piece; blocks are never empty."""
    is_first = True
    for block in blocks:
        rows = [_strict(row) for row in block]
        if style == "json":
            yield ("[" if is_first else ",") + json.dumps(rows, indent=2, default=str)[1:-2]
        else:
            text = io.StringIO()
            writer = csv.DictWriter(text, rows[0], lineterminator="\n")
            if is_first:
                writer.writeheader()
            for row in rows:
                cells = {k: v for k, v in row.items() if isinstance(v, (dict, list))}
                nested = {name: json.dumps(value, default=str) for name, value in cells.items()}
                writer.writerow(row | nested)
            yield text.getvalue()
        is_first = False
    if style == "json":
        yield "[]\n" if is_first else "\n]\n"


def _strict(value: Any) -> Any:
    """A value in the numbers, times and keys that JSON has: what is not finite is nothing."""
    if isinstance(value, Mapping):
        return {str(key): _strict(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if isinstance(value, datetime) else value


# Rows for tables


def with_short_ids(rows: Rows, name: str) -> list[dict[str, Any]]:
    """The rows with the shortest beginnings of the ids in a column that tell them apart."""
    short = shortest({str(row[name]) for row in rows})
    return [{**row, name: short[str(row[name])]} for row in rows]


def only(rows: Rows, *names: str) -> list[dict[str, Any]]:
    """The rows with these columns, where a table has no room for more."""
    return [{name: row[name] for name in names} for row in rows]


def by_sign(text: str, value: float | None) -> Text:
    """A cell: blue above zero and red below, pale where it is little and bold where it is much."""
    strength, colour = abs(value or 0.0), "blue" if (value or 0.0) > 0 else "red"
    weight = "bold " if strength >= 0.6 else ""
    return Text(text, "dim" if strength < 0.1 else weight + colour)


def between(
    value: float | None, low: float | None, high: float | None, style: str, ends: str, none: str
) -> str | None:
    """A number, in one style, with its interval, in another, in brackets.

    Args:
        none: what stands in the brackets where there is no interval; empty: no brackets.
    """
    if value is None or math.isnan(value):
        return None
    said = none if low is None else f"{low:{ends}} to {high:{ends}}"
    return f"{value:{style}}" + (f" ({said})" if said else "")


# Tables for people


def console(stream: TextIO) -> Console:
    """Rich's way to a stream: as wide as a terminal, or as COLUMNS says, and endless in a pipe."""
    width = None if stream.isatty() or os.environ.get("COLUMNS") else ENDLESS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_table(
    rows: Rows, title: str = "", spare: Sequence[str] = (), stream: TextIO | None = None
) -> None:
    """Print rows, of which there is one at least, for people; to stdout, if to no other stream.

    Where a row is too wide, columns are left out that can be spared, and text is folded; where it
    still is, each value has a line.
    """
    out = console(stream or sys.stdout)
    table, needed = _table(rows, list(rows[0]))
    if needed > out.width:
        table, needed = _table(rows, [name for name in rows[0] if name not in spare], NARROW)
    if needed > out.width:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", overflow="fold")
        table.add_column(overflow="fold")
        for row in rows:
            for name, value in row.items():
                table.add_row(escaped(name), _cell(value))
            table.add_row()
    with out.capture() as written:
        if title:
            out.print(Text(escaped(title), "italic"))
        out.print(table, crop=False)
    out.file.write("\n".join(line.rstrip() for line in written.get().split("\n")))


def _table(rows: Rows, names: Sequence[str], least: int = ENDLESS) -> tuple[Table, int]:
    """A line a row, and how wide it is at least where text is folded that is wider than `least`.

    The first column, which says what a row is, may be twice as wide.
    """
    table, needed = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False), -GAP
    cells = [[_cell(row[name]) for name in names] for row in rows]
    for name, column in zip(map(escaped, names), zip(*cells, strict=True), strict=True):
        is_number = all(NUMBER.fullmatch(cell.plain) for cell in column)
        is_narrow, is_first = least != ENDLESS, not table.columns
        head = re.sub(r"(?<=_)|(?<= )", "\n", name) if is_number and is_narrow else name
        width = max(map(cell_len, [*head.split("\n"), *(cell.plain for cell in column)]))
        width = width if is_number else min(width, 2 * least if is_first else least)
        table.add_column(
            head,
            justify="right" if is_number else "left",
            no_wrap=is_number,
            width=width if is_narrow and is_first else None,
            min_width=None if is_narrow else width,
            overflow="fold",
        )
        needed += GAP + width
    for line in cells:
        table.add_row(*line)
    return table, needed


def _cell(value: Any) -> Text:
    """A value as text in one line, with its own style."""
    line = plain(value).replace("\n", r"\n").replace("\t", r"\t")
    return value if isinstance(value, Text) else Text(escaped(line))


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


@dataclass(frozen=True)
class Session(Place):
    """The global options."""

    def say(self, line: str) -> None:
        """A remark, on stderr."""
        say(line)

    def progress(self, title: str, total: int, unit: str = "") -> AbstractContextManager[Advance]:
        """How far a piece of work is, on stderr."""
        return progress(escaped(title), total, say=say, unit=unit)

    @property
    def command(self) -> str:
        """The words that begin a command on this store; what the environment says is left out."""
        uri, known = self.tracking_uri or "", os.environ.get("MLFLOW_TRACKING_URI", "")
        options = {
            "--store": (str(self.folder), DEFAULT_FOLDER),
            "--tracking-uri": (without_password(uri), without_password(known)),
            "--data-dir": (str(self.data_dir), os.environ.get("INDELIBLE_DATA_DIR", "data")),
        }
        words = [w for name, (own, usual) in options.items() if own != usual for w in (name, own)]
        return shlex.join(["indelible", *words])

    def line(self, *words: object) -> str:
        """A command on this store, to be pasted as it is."""
        return f"{self.command} {shlex.join(map(str, words))}"
