"""What relations, their columns and macros mean: the headers of their SQL files, and columns.toml.

They are written into the warehouse as comments, and `indelible schema` reads them there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import duckdb

COLUMNS = Path(__file__).parent / "data" / "columns.toml"
HEADER = re.compile(r"(?:-- .*\n)+")
ENTRY = re.compile(r"((?:\w+, )*\w+): (.*)")
LATEST = "latest_"  # how the name of a view begins that has one sweep's rows of a relation


@dataclass(frozen=True)
class Header:
    """The comment above a statement.

    Attributes:
        name: of the relation or macro, a macro's with its arguments. meaning: what a row is.
        entries: what columns and arguments mean, by name. example: a query, or nothing.
    """

    name: str
    meaning: str
    entries: Mapping[str, str] = field(default_factory=dict)
    example: str = ""

    @property
    def bare_name(self) -> str:
        """The name without arguments."""
        return self.name.partition("(")[0]


def header(statement: str) -> Header:
    """The comment above a statement, taken apart.

    Its first lines are `name: what a row is`, and then each line after a full stop that begins with
    names and a colon says what these columns or arguments mean, up to the next one.
    """
    found = HEADER.match(statement)
    first, *lines = [line.removeprefix("-- ") for line in found[0].splitlines()] if found else [""]
    name, _, meaning = first.partition(": ")
    texts, example = [meaning], ""
    opening, entries = texts, dict[str, list[str]]()
    for line in lines:
        entry = ENTRY.fullmatch(line)
        if line.startswith("example: "):
            example = line.removeprefix("example: ")
        elif entry and texts[-1].endswith("."):
            texts = [entry[2]]
            entries |= dict.fromkeys(entry[1].split(", "), texts)
        else:
            texts.append(line)
    said = {column: " ".join(parts).removesuffix(".") for column, parts in entries.items()}
    return Header(name, " ".join(opening), said, example)


@cache
def shared() -> Mapping[str, Mapping[str, str]]:
    """What columns mean that several relations have, and what the tables of the staging are."""
    return tomllib.loads(COLUMNS.read_text("utf-8"))


class Meanings:
    """What relations, columns and macros mean.

    Args:
        statements: the text of every SQL file that makes one.
        factors: what factors mean that are columns of a relation, by name.
    """

    def __init__(self, statements: Iterable[str], factors: Mapping[str, str]) -> None:
        self.headers = {found.bare_name: found for found in map(header, statements)}
        self._factors = factors

    def of_column(self, relation: str, column: str) -> str:
        """What a column of a relation or macro means. Raises KeyError if nothing says that."""
        own = self.headers[relation].entries
        base = self.headers.get(relation.removeprefix(LATEST))
        for entries in (own, base.entries if base else {}, *_of_all(), self._factors):
            if column in entries:
                return entries[column]
        raise KeyError(f"{relation}.{column}")

    def of_macro(self, name: str) -> str:
        """What a macro does, and its arguments and columns."""
        found = self.headers[name]
        more = [f"{names}: {said}" for names, said in found.entries.items()]
        return " ".join([f"{found.name}: {found.meaning}", *more])


def _of_all() -> tuple[Mapping[str, str], ...]:
    return shared()["same"], shared()["of_the_row"]


def comment(connection: duckdb.DuckDBPyConnection, meanings: Meanings) -> None:
    """Write a comment on every relation, column and macro of a warehouse that was just made."""
    statements = [
        "comment on {} is '{}'".format(thing, said.replace("'", "''"))
        for thing, said in _comments(connection, meanings)
    ]
    connection.execute(";".join(["begin", *statements, "commit"]))


def _comments(
    connection: duckdb.DuckDBPyConnection, meanings: Meanings
) -> Iterator[tuple[str, str]]:
    """Each thing that has a comment, as SQL names it, and what is said of it."""
    relations = """
        select schema_name, table_name, 'table' as kind from duckdb_tables()
        union all
        select schema_name, view_name, 'view' from duckdb_views() where not internal
    """
    for schema, name, kind in connection.execute(relations).fetchall():
        own = shared()["staging"][name] if schema == "staging" else meanings.headers[name].meaning
        yield f'{kind} {schema}."{name}"', own
    columns = """
        select table_name, column_name from duckdb_columns()
        where schema_name = 'main' and not internal
    """
    for name, column in connection.execute(columns).fetchall():
        identifier = column.replace('"', '""')
        yield f'column "{name}"."{identifier}"', meanings.of_column(name, column)
    macros = """
        select distinct function_name, function_type = 'table_macro' as is_table
        from duckdb_functions() where not internal and function_type in ('macro', 'table_macro')
    """
    for name, is_table in connection.execute(macros).fetchall():
        yield f'macro {"table " if is_table else ""}"{name}"', meanings.of_macro(name)
