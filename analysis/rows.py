"""Rows of the warehouse's reports, as a page or a figure wants them."""

from __future__ import annotations

from collections import Counter
from typing import Any

Rows = list[dict[str, Any]]

LEVEL = 0.05  # below which a p-value says more than chance


def nested(rows: Rows, *columns: str) -> dict[Any, Any]:
    """The rows as a tree: a level a column, in the rows' order, with lists of rows as leaves."""
    first, *rest = columns
    tree: dict[Any, Any] = {}
    for row in rows:
        tree.setdefault(row[first], []).append(row)
    return {key: nested(part, *rest) for key, part in tree.items()} if rest else tree


def names(rows: Rows, column: str) -> list[Any]:
    """The values of a column, each once, in the rows' order."""
    return list(dict.fromkeys(row[column] for row in rows))


def signed(value: float | None, digits: int = 2) -> str:
    """A number between -1 and 1 with its sign."""
    if value is None:
        return "\N{EN DASH}"
    rounded = round(value, digits) or 0.0  # no minus before a zero
    return f"{rounded:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def crowd(rows: Rows) -> int:
    """How many samples share a value that not all of them have room to be shown with; 0 if none."""
    shown = Counter(row["value"] for row in rows)
    crowds = (row["tied"] + 1 for row in rows if row["tied"] >= shown[row["value"]])
    return max(crowds, default=0)


def is_by_chance(row: dict[str, Any]) -> bool:
    """Whether GT that was measured again cannot be told from chance."""
    return row["ceiling_low"] == 0 or row["ceiling"] is None


def ceiling(row: dict[str, Any], sign: str = "", interval: bool = False) -> str:
    """The most to expect of a factor's correlation with GT, where it can be told from 0."""
    if row["ceiling_low"] == 0:
        return "not distinguishable from 0"
    if row["ceiling"] is None:
        return "\N{EN DASH}"
    said = f"{sign}{row['ceiling']:.2f}"
    if interval and row["ceiling_low"] is not None:
        said += f" ({row['ceiling_low']:.2f} to {row['ceiling_high']:.2f})"
    return said


def said(row: dict[str, Any]) -> str:
    """A correlation, or why there is none."""
    return str(row["undefined"]) if row["rho"] is None else f"ρ {signed(row['rho'])}"


def is_told(p_value: float | None) -> bool:
    """Whether something is told from chance, by a p-value that is corrected where it has to be."""
    return p_value is not None and p_value < LEVEL


def said_p(p_value: float | None) -> str:
    """A p-value, or nothing where there is none."""
    if p_value is None:
        return "\N{EN DASH}"
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.{2 if p_value >= 0.1 else 3}f}"


def in_words(parts: list[str]) -> str:
    """The parts as a sentence lists them."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
