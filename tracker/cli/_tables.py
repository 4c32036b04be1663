"""Tables for people: in colour on a terminal, as wide as it is, and printed while rows come.

Where a table is too wide for a terminal, ids are shortened, lines are broken between words, and
what is still too wide is printed in parts, each with the first column, or a line a value. Through a
pipe every line is whole, unless COLUMNS says how wide it may be.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from tracker.cli._layout import GAP, Column, broken, fitted, parted
from tracker.cli._streams import StandardStream, escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Rows = Sequence[Mapping[str, Any]]

NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]\d+)?[%x]?")
INDENT = 4  # of what stands below its row


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


@dataclass(frozen=True)
class Short:
    """A cell with a short form, for where there is no room for all of it.

    Attributes:
        style: as of a Shade, of the short form.
    """

    text: str
    short: str
    style: str = ""

    def __str__(self) -> str:
        return self.text


def console(stream: TextIO) -> Console:
    """Rich's way to a standard stream, colours and all."""
    from rich.console import Console

    styled: Any = stream.styled if isinstance(stream, StandardStream) else stream
    return Console(file=styled, highlight=False, markup=False, emoji=False)


class TablePrinter:
    """Prints the blocks of a table, the later ones with no heading.

    Args:
        headings: whether names become words, or stay as a query needs them.
        below: columns that stand below their row where there is no room for them beside it.
        in_parts: whether a table that is too wide is printed in parts, not a line a value.
    """

    def __init__(
        self,
        title: str | None = None,
        headings: bool = True,
        below: Sequence[str] = (),
        in_parts: bool = True,
    ) -> None:
        self._title, self._headings = title, headings
        self._below, self._in_parts = below, in_parts
        self._console = console(sys.stdout)
        has_edge = self._console.is_terminal or os.environ.get("COLUMNS", "").isdecimal()
        self._edge = self._console.width if has_edge else None
        self._parts: list[_Part] | None = None
        self._short, self._beneath = False, list[str]()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was printed."""
        return self._parts is None

    def print(self, rows: Rows) -> None:
        """Print a block, which is not empty."""
        first = self._parts is None
        if first and self._title:
            self._put(*self._wrapped(self._text(self._title, "italic"), self._edge))
        if self._parts is None:
            self._parts = self._laid_out(rows)
        else:
            self._parts = [self._grown(part, rows) for part in self._parts]
        for k, part in enumerate(self._parts):
            if k:
                self._put(self._text(""))
            heading = self._heading(part) if first else ()
            self._put(*heading, *self._body(part, rows, () if k else self._beneath))
        if not self._parts:
            self._put(*self._records(rows))

    def _put(self, *lines: Text) -> None:
        from rich.text import Text

        if lines:
            self._console.print(Text("\n").join(lines), soft_wrap=True)

    def _laid_out(self, rows: Rows) -> list[_Part]:
        """The parts in which the table is printed; none of them: a line a value."""
        names = list(rows[0])
        for self._short in (False, True):
            columns = [self._column(name, rows) for name in names]
            whole = [column.whole for column in columns]
            if fitted(columns, self._edge) == whole:
                return [_Part(names, columns, whole)]
        assert self._edge is not None  # else everything fits
        self._beneath = [name for name in self._below if name in names]
        names = [name for name in names if name not in self._beneath]
        columns = [self._column(name, rows) for name in names]
        if widths := fitted(columns, self._edge):
            return [_Part(names, columns, widths)]
        if not self._in_parts:
            self._short, self._beneath = False, []
            return []
        return [
            _Part(
                [names[k] for k in positions],
                chosen := [columns[k] for k in positions],
                fitted(chosen, self._edge) or [column.least for column in chosen],
            )
            for positions in parted(columns, self._edge)
        ]

    def _grown(self, part: _Part, rows: Rows) -> _Part:
        """The part with columns that a later block fits into too."""
        columns = [
            column.wider(self._column(name, rows))
            for name, column in zip(part.names, part.columns, strict=True)
        ]
        widths = fitted(columns, self._edge) or [column.least for column in columns]
        return _Part(part.names, columns, widths)

    def _column(self, name: str, rows: Rows) -> Column:
        """A column with its heading and cells."""
        cells = [self._cell(row[name]) for row in rows]
        return Column.of(self._name(name), cells, not _is_number(name, rows[0][name]))

    def _heading(self, part: _Part) -> Iterator[Text]:
        texts = [self._text(self._name(name), "bold") for name in part.names]
        yield from self._lines(part, texts)
        rule = "-" if self._console.options.ascii_only else "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
        yield self._text(rule * (sum(part.widths) + GAP * (len(part.widths) - 1)))

    def _body(self, part: _Part, rows: Rows, below: Sequence[str]) -> Iterator[Text]:
        """The rows, each with these columns below it."""
        for row in rows:
            yield from self._lines(part, [self._shaded(row[name]) for name in part.names])
            if said := "; ".join(_cell(row[name]) for name in below if row[name]):
                assert self._edge is not None
                for line in self._wrapped(self._text(said), self._edge - INDENT):
                    line.pad_left(INDENT)
                    line.rstrip()
                    yield line

    def _lines(self, part: _Part, texts: Sequence[Text]) -> Iterator[Text]:
        """One row of a table, on as many lines as its highest cell has."""
        from rich.text import Text

        cells = [self._wrapped(*pair) for pair in zip(texts, part.widths, strict=True)]
        for k in range(max(map(len, cells))):
            line = Text()
            for cell, column, width in zip(cells, part.columns, part.widths, strict=True):
                piece = cell[k] if k < len(cell) else Text()
                before = 0 if column.is_text else width - piece.cell_len
                gap = GAP if line else 0
                line.append(" " * (gap + before)).append_text(piece)
                line.append(" " * (width - piece.cell_len - before))
            line.rstrip()
            yield line

    def _records(self, rows: Rows) -> Iterator[Text]:
        """A line a value, with an empty line between rows."""
        assert self._edge is not None
        left = min(max(len(self._name(name)) for name in rows[0]) + GAP, self._edge // 2)
        for row in rows:
            for name, value in row.items():
                heading = self._text(self._name(name), "bold")
                for k, line in enumerate(self._wrapped(self._shaded(value), self._edge - left)):
                    start = heading.copy() if k == 0 else self._text("")
                    start.align("left", left)
                    yield start.append_text(line)
            yield self._text("")

    def _wrapped(self, text: Text, width: int | None) -> Sequence[Text]:
        """The text on lines of that width; on one where it is None."""
        from rich.text import Text

        if width is None or text.cell_len <= width:
            return [text]
        return [Text(line, text.style) for line in broken(text.plain, width)]

    def _shaded(self, value: Any) -> Text:
        style = "" if isinstance(value, Short) and not self._short else getattr(value, "style", "")
        return self._text(self._cell(value), style)

    def _text(self, text: str, style: str = "") -> Text:
        from rich.text import Text

        return Text(self._shown(text), style)

    def _name(self, column: str) -> str:
        return self._shown(column.replace("_", " ") if self._headings else column)

    def _cell(self, value: Any) -> str:
        is_short = self._short and isinstance(value, Short)
        return self._shown(value.short if is_short else _cell(value))

    def _shown(self, text: str) -> str:
        """Text that cannot steer the terminal, in characters that it has."""
        encoding = self._console.encoding
        return escaped(text).encode(encoding, "backslashreplace").decode(encoding)


@dataclass(frozen=True)
class _Part:
    """Columns that are printed beside each other, with their widths."""

    names: Sequence[str]
    columns: Sequence[Column]
    widths: Sequence[int]


def _is_number(name: str, value: Any) -> bool:
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return True
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
