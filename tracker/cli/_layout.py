"""How wide the columns of a table are, on a terminal whose width is known.

Widths are in characters of a terminal. A width of None has no edge: a pipe, whose lines are whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2  # characters between two columns
NARROW = 16  # a text column may become as narrow as this, though its words are longer
PIECES = re.compile(r"[^_]*_+|[^_]+")  # of a long word: names are broken behind `_`


@dataclass(frozen=True)
class Column:
    """What there is to know of a column.

    Attributes:
        whole: the width of its widest cell or heading. cell: of its widest cell, or of the longest
            word of its heading. word: of its longest word. piece: of the longest piece of a word.
        is_text: whether a word of it may be broken: those of numbers never are.
    """

    whole: int
    cell: int
    word: int
    piece: int
    is_text: bool

    @property
    def least(self) -> int:
        """The narrowest that it may become."""
        return min(self.piece, NARROW) if self.is_text else self.word

    def wider(self, other: Column) -> Column:
        """A column with the cells of both."""
        return Column(
            whole=max(self.whole, other.whole),
            cell=max(self.cell, other.cell),
            word=max(self.word, other.word),
            piece=max(self.piece, other.piece),
            is_text=self.is_text,
        )

    @classmethod
    def of(cls, heading: str, cells: Sequence[str], is_text: bool) -> Column:
        """The column with this heading and these cells."""
        from rich.cells import cell_len

        cell, texts = max(map(cell_len, cells)), (heading, *cells)
        words = [word for text in texts for word in text.split()]
        return cls(
            whole=max(cell_len(heading), cell),
            cell=max(cell, *map(cell_len, heading.split())),
            word=max(map(cell_len, words), default=0),
            piece=max((cell_len(p) for word in words for p in PIECES.findall(word)), default=0),
            is_text=is_text,
        )


def fitted(columns: Sequence[Column], edge: int | None) -> list[int] | None:
    """Widths that fit between the edges; None if there are none.

    Headings are broken between words where they have to be, the widest columns first, then cells
    too, and words only where that is not enough.
    """
    widths = [column.whole for column in columns]
    if edge is None:
        return widths
    room = edge - GAP * (len(columns) - 1)
    for least in (
        [column.cell for column in columns],
        [column.word for column in columns],
        [column.piece if column.is_text else column.word for column in columns],
        [column.least for column in columns],
    ):
        widths = narrowed(widths, least, room)
        if sum(widths) <= room:
            return widths
    return None


def parted(columns: Sequence[Column], edge: int) -> list[list[int]]:
    """The positions of the columns in each part of a table that is too wide for one.

    The first column is repeated in every part. A part has two columns at least.
    """
    parts: list[list[int]] = [[0]]
    for position in range(1, len(columns)):
        tried = [*parts[-1], position]
        if len(tried) > 2 and fitted([columns[k] for k in tried], edge) is None:
            parts.append([0, position])
        else:
            parts[-1] = tried
    return parts


def narrowed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths that come to no more than there is room, if that can be: the widest give way."""
    widths = list(widths)
    while sum(widths) > room:
        spare = [(width, k) for k, width in enumerate(widths) if width > least[k]]
        if not spare:
            break
        widths[max(spare)[1]] -= 1
    return widths


def broken(text: str, width: int) -> list[str]:
    """The lines of a text. A word is broken only where it is longer than a line."""
    from rich.cells import cell_len

    lines = [""]
    for word in re.findall(r"\s*\S+", text):
        if cell_len(lines[-1] + word) <= width:
            lines[-1] += word
            continue
        pieces = [word.lstrip()]
        if cell_len(pieces[0]) > width:
            pieces = PIECES.findall(pieces[0])
        lines += [""] if lines[-1] else []
        for piece in pieces:
            _add(lines, piece, width)
    return lines


def _add(lines: list[str], piece: str, width: int) -> None:
    """Add a piece of a word to the last line, or to new ones."""
    from rich.cells import cell_len

    if cell_len(lines[-1] + piece) > width and lines[-1]:
        lines.append("")
    for letter in piece:
        if cell_len(lines[-1] + letter) > width and lines[-1]:
            lines.append("")
        lines[-1] += letter
