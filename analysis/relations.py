"""Descriptions of a warehouse's relations, as its comments have them, for `indelible schema`."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.meanings import Meanings
from analysis.warehouse import Warehouse, statements


@dataclass(frozen=True)
class Column:
    """A column: its name, DuckDB's type, and what it means."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True)
class Described:
    """A relation, or a macro that is used like one.

    Attributes:
        meaning: what a row is. example: a query that answers.
        columns: in their order; of the example where the relation is a macro.
    """

    name: str
    meaning: str
    example: str
    columns: list[Column]


def described(warehouse: Warehouse) -> list[Described]:
    """Every relation whose header has an example, in the order in which they are made."""
    columns: dict[str, list[Column]] = {}
    meanings: dict[str, str] = {}
    for relation, meaning, *column in warehouse.report("columns").rows:
        columns.setdefault(relation, []).append(Column(*column))
        meanings[relation] = meaning
    texts = Meanings((file.read_text("utf-8") for file in statements()), {})
    return [
        Described(
            found.name,
            meanings.get(name) or found.meaning,
            found.example,
            columns.get(name) or _of_macro(warehouse, name, found.example, texts),
        )
        for name, found in texts.headers.items()
        if found.example
    ]


def _of_macro(warehouse: Warehouse, name: str, example: str, texts: Meanings) -> list[Column]:
    return [
        Column(column, kind, texts.of_column(name, column))
        for column, kind in warehouse.types(example)
    ]
