"""Tables for people: in colour on a terminal, and printed while their rows come."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from tracker.cli._streams import StandardStream, escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Rows = Sequence[Mapping[str, Any]]

GAP = 3  # characters between two columns


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


def console(stream: TextIO) -> Console:
    """Rich's way to a standard stream, colours and all."""
    from rich.console import Console

    styled: Any = stream.styled if isinstance(stream, StandardStream) else stream
    return Console(file=styled, highlight=False, markup=False, emoji=False)


class TablePrinter:
    """Prints the blocks of a table, the later ones with no heading and at least as wide.

    Args:
        headings: whether names become words, or stay as a query needs them.
    """

    def __init__(self, title: str | None, headings: bool) -> None:
        self._title, self._headings = title, headings
        self._console = console(sys.stdout)
        self._widths: list[int] = []
        self._right: list[bool] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was printed."""
        return not self._widths

    def print(self, rows: Rows) -> None:
        """Print a block, which is not empty."""
        from rich.text import Text

        first = self.is_empty
        names = [self._name(column) for column in rows[0]]
        if first:
            self._right = [_is_number(column, value) for column, value in rows[0].items()]
        cells = [[self._shown(_cell(value)) for value in row.values()] for row in rows]
        self._fit([names, *cells] if first else cells)
        table = self._framed(names, first)
        for row, line in zip(rows, cells, strict=True):
            styles = (getattr(value, "style", "") for value in row.values())
            table.add_row(*(Text(text, style) for text, style in zip(line, styles, strict=True)))
        self._console.print(table, crop=False)

    def _framed(self, names: Sequence[str], first: bool) -> Table:
        """A table of these columns, still without rows."""
        from rich import box
        from rich.table import Table

        table = Table(
            title=self._shown(self._title) if first and self._title else None,
            box=box.SIMPLE_HEAD,
            title_justify="left",
            show_edge=False,
            show_header=first,
        )
        for name, width, right in zip(names, self._widths, self._right, strict=True):
            table.add_column(name, justify="right" if right else "left", width=width)
        return table

    def _name(self, column: str) -> str:
        return self._shown(column.replace("_", " ") if self._headings else column)

    def _shown(self, text: str) -> str:
        """Text that cannot steer the terminal, in characters that it has."""
        encoding = self._console.encoding
        return escaped(text).encode(encoding, "backslashreplace").decode(encoding)

    def _fit(self, lines: Sequence[Sequence[str]]) -> None:
        """Widen the columns to these cells; words are never broken, and a pipe has no edge."""
        from rich.cells import cell_len

        columns = list(zip(*lines, strict=True))
        whole = [max(map(cell_len, column)) for column in columns]
        if self._console.is_terminal:
            words = [
                max(cell_len(w) for text in column for w in text.split()) for column in columns
            ]
            room = self._console.width - GAP * len(columns) + 1
            whole = _narrowed(whole, words, room) if self.is_empty else words
        before = self._widths or [1] * len(columns)
        self._widths = [max(pair) for pair in zip(before, whole, strict=True)]
        self._console.width = max(self._console.width, sum(self._widths) + GAP * len(columns))


def _narrowed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths that come to no more than there is room, if that can be: the widest give way."""
    widths = list(widths)
    while sum(widths) > room:
        spare = [(width, k) for k, width in enumerate(widths) if width > least[k]]
        if not spare:
            break
        widths[max(spare)[1]] -= 1
    return widths


def _is_number(name: str, value: Any) -> bool:
    return isinstance(value, (int, float)) or name in ("p_value", "rho")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return _number(value)
    return str(value)


def _number(value: float) -> str:
    """Four significant digits, and more where fewer would be a whole number that it is not."""
    if not math.isfinite(value):
        return str(value)
    if value.is_integer():
        return f"{value:.0f}" if abs(value) < 1e9 else f"{value:.4g}"
    for digits in range(4, 17):
        text = f"{value:.{digits}g}"
        if not float(text).is_integer():
            return text
    return repr(value)
