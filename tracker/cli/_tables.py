"""Tables for people, printed by rich: in colour on a terminal and as wide as it is.

Where a row is too wide, ids are short and cells are folded; where it still is, each value has a
line. Through a pipe every line is whole, unless COLUMNS says how wide it may be.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from tracker.cli._streams import StandardStream, escaped

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

Rows = Sequence[Mapping[str, Any]]

NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]\d+)?[%x*]?|-|")
ENDLESS = 10**9  # characters in a line of a pipe
GAP = 2  # characters between two columns
NARROW = 12  # text is not folded into a column that is narrower
LEAST = 20  # characters in a line


@dataclass(frozen=True)
class Cell:
    """A text with a style that is seen on a terminal only, and a form for where room is short."""

    text: str
    style: str = ""
    short: str | None = None

    @classmethod
    def by_sign(cls, text: str, value: float | None) -> Cell:
        """Blue above zero and red below, pale where it is little and bold where it is much."""
        strength, colour = abs(value or 0.0), "blue" if (value or 0.0) > 0 else "red"
        weight = "bold " if strength >= 0.6 else ""
        return cls(text, "dim" if strength < 0.1 else weight + colour)

    def __str__(self) -> str:
        return self.text


def console(stream: TextIO) -> Console:
    """Rich's way to a standard stream, colours and all."""
    from rich.console import Console

    styled: Any = stream.styled if isinstance(stream, StandardStream) else stream
    width = None if stream.isatty() or os.environ.get("COLUMNS") else ENDLESS
    return Console(file=styled, width=width, highlight=False, markup=False, emoji=False)


class TablePrinter:
    """Prints the blocks of a table, the later ones with no heading.

    Args:
        headings: whether names become words, or stay as a query needs them.
        below: columns that stand below the first one where a row is too wide.
    """

    def __init__(
        self, title: str | None = None, headings: bool = True, below: Sequence[str] = ()
    ) -> None:
        self._title, self._headings, self._below = title, headings, below
        self._console, self._widths = console(sys.stdout), dict[str, int]()
        self._console.width = max(self._console.width, LEAST)
        self.is_empty = True

    def print(self, rows: Rows) -> None:
        """Print a block, which is not empty."""
        table = self._table(rows, False) or self._table(rows, True) or self._records(rows)
        with self._console.capture() as shown:
            if self.is_empty and self._title:
                self._console.print(_text(self._title), style="italic")
            self._console.print(table, crop=False)
        self.is_empty = False
        lines = shown.get().split("\n")
        self._console.file.write("\n".join(line.rstrip() for line in lines))

    def _table(self, rows: Rows, is_narrow: bool) -> Table | None:
        """A line a row, with short cells where it is narrow; None where there is no room."""
        from rich.box import SIMPLE_HEAD
        from rich.cells import cell_len
        from rich.table import Table

        table = Table(
            box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, show_header=self.is_empty
        )
        below = [name for name in self._below if is_narrow and name in rows[0]]
        names = [name for name in rows[0] if name not in below]
        columns = [[_text(row[name], is_narrow) for row in rows] for name in names]
        needed = -GAP
        for name, cells in zip(names, columns, strict=True):
            is_number = all(NUMBER.fullmatch(cell.plain) for cell in cells)
            head = self._head(name).replace(" ", "\n" if is_narrow and is_number else " ")
            width = max(map(cell_len, [*head.split("\n"), *(cell.plain for cell in cells)]))
            if not is_narrow:
                self._widths[name] = width = max(width, self._widths.get(name, 0))
            needed += GAP + (min(width, NARROW) if is_narrow and not is_number else width)
            table.add_column(
                head,
                justify="right" if is_number else "left",
                no_wrap=is_number,
                min_width=None if is_narrow else width,
                overflow="fold",
            )
        if needed > self._console.width:
            return None
        for row, (first, *others) in zip(rows, zip(*columns, strict=True), strict=True):
            said = "; ".join(_plain(row[name]) for name in below if row[name])
            table.add_row(_above(first, said) if said else first, *others)
        return table

    def _records(self, rows: Rows) -> Table:
        """A line a value, and an empty one between rows."""
        from rich.table import Table

        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", overflow="fold")
        table.add_column(overflow="fold")
        for row in rows:
            for name, value in row.items():
                table.add_row(self._head(name), _text(value))
            table.add_row()
        return table

    def _head(self, name: str) -> str:
        return escaped(name.replace("_", " ") if self._headings else name)


def _above(first: Text, said: str) -> RenderableType:
    """A cell with something below it."""
    from rich.console import Group
    from rich.padding import Padding

    return Group(first, Padding(_text(said), (0, 0, 0, 2)))


def _text(value: Any, is_narrow: bool = False) -> Text:
    """A value in its own style, which cannot steer the terminal."""
    from rich.text import Text

    short = value.short if is_narrow and isinstance(value, Cell) else None
    return Text(escaped(short or _plain(value)), getattr(value, "style", ""))


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """Four significant digits, and more where fewer would be a whole number that it is not."""
    if value.is_integer():
        return f"{value:.10g}"
    texts = (f"{value:.{digits}g}" for digits in range(4, 18))
    return next(text for text in texts if not float(text).is_integer())
