"""Descriptions of a warehouse's relations: the headers of their SQL files, and their columns."""

from __future__ import annotations

import re
from dataclasses import dataclass

from analysis.warehouse import Warehouse, statements

HEADER = re.compile(r"(?:-- .*\n)+")


@dataclass(frozen=True)
class Described:
    """A relation, or a macro that is used like one.

    Attributes:
        meaning: what a row is, as the header says it.
        example: a query that answers.
        columns: names and types; of the example where the relation is a macro.
    """

    name: str
    meaning: str
    example: str
    columns: list[tuple[str, str]]


def described(warehouse: Warehouse) -> list[Described]:
    """Every relation whose header has an example, in the order in which they are made."""
    columns: dict[str, list[tuple[str, str]]] = {}
    for relation, column, kind in warehouse.report("columns").rows:
        columns.setdefault(relation, []).append((column, kind))
    headers = [header(file.read_text("utf-8")) for file in statements()]
    return [
        Described(signature, meaning, example, columns.get(signature) or warehouse.types(example))
        for signature, meaning, example in headers
        if example
    ]


def header(statement: str) -> tuple[str, str, str]:
    """Name (with the arguments of a macro), meaning and example from the comment above it."""
    found = HEADER.match(statement)
    lines = [line.removeprefix("-- ") for line in found[0].splitlines()] if found else []
    examples = [line for line in lines if line.startswith("example: ")]
    text = " ".join(line for line in lines if line not in examples)
    name, _, meaning = text.partition(": ")
    return name, meaning, examples[0].removeprefix("example: ") if examples else ""
