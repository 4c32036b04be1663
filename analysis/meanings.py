"""What relations, their columns and macros mean: the headers of their SQL files, and columns.toml.

They are written into the warehouse as comments, and `indelible schema` prints them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import duckdb

SQL = Path(__file__).parent / "sql"
COLUMNS = Path(__file__).parent / "data" / "columns.toml"
HEADER = re.compile(r"(?:-- .*\n)+")
ENTRY = re.compile(r"((?:\w+, )*\w+): (.*)")
INTERNAL = "internal."  # begins the names of relations that serve others


class Column(NamedTuple):
    """A column: its name, DuckDB's type, and what it means."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True)
class Header:
    """The comment above a statement, which says what a relation or macro is.

    Attributes:
        name: a macro's with its arguments. meaning: what a row is.
        entries: what columns and arguments mean, by name. example: a query, or nothing.
        columns: in a warehouse, in their order; of the example where it is a macro.
    """

    name: str
    meaning: str
    entries: Mapping[str, str]
    example: str
    columns: Sequence[Column] = ()

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


def statements() -> list[Path]:
    """The files of all macros and relations, in the order in which they run."""
    files = (file for folder in ("schema", "marts") for file in (SQL / folder).glob("*.sql"))
    return sorted(files, key=lambda file: file.name)


@cache
def headers() -> Mapping[str, Header]:
    """The headers of all macros and relations, by name, in the order in which they are made."""
    found = (header(file.read_text("utf-8")) for file in statements())
    return {each.bare_name: each for each in found}


@cache
def shared() -> Mapping[str, Mapping[str, str]]:
    """What columns mean that several relations have, and what the tables of the staging are."""
    return tomllib.loads(COLUMNS.read_text("utf-8"))


def factors_of(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """What factors mean, by name, as the warehouse's catalog says."""
    rows = connection.execute("select factor, title, description from factor_catalog").fetchall()
    return {factor: ": ".join(filter(None, said)) for factor, *said in rows}


def column_meaning(relation: str, column: str, factors: Mapping[str, str]) -> str:
    """What a column of a relation or macro means. Raises KeyError if nothing says that."""
    own = headers()[relation].entries
    for known in (own, shared()["same"], shared()["of_the_row"], factors):
        if column in known:
            return known[column]
    raise KeyError(f"{relation}.{column}")


THINGS = """
    select 'table' as kind, schema_name, table_name as name, null as column from duckdb_tables()
    union all
    select 'view', schema_name, view_name, null from duckdb_views() where not internal
    union all
    select 'column', schema_name, table_name, column_name from duckdb_columns()
    where schema_name in ('main', 'internal') and not internal
    union all
    select distinct
        if(function_type = 'macro', 'macro', 'macro table'), schema_name, function_name, null
    from duckdb_functions() where not internal and function_type in ('macro', 'table_macro')
"""


def comment(connection: duckdb.DuckDBPyConnection) -> None:
    """Write a comment on every relation, column and macro of a warehouse that was just made.

    A factor's is what the catalog says.
    """
    factors, written = factors_of(connection), ["begin"]
    for kind, schema, name, column in connection.execute(THINGS).fetchall():
        asked = INTERNAL + name if f"{schema}." == INTERNAL else name
        if column is not None:
            said = column_meaning(asked, column, factors)
        elif schema == "staging":
            said = shared()["staging"][name]
        else:
            said = (found := headers()[asked]).meaning
            if "macro" in kind:
                entries = [f"{names}: {text}" for names, text in found.entries.items()]
                said = " ".join([f"{found.name}: {said}", *entries])
        parts = [schema, name] if column is None else [schema, name, column]
        quoted = ".".join('"' + part.replace('"', '""') + '"' for part in parts)
        text = said.replace("'", "''")
        written.append(f"comment on {kind} {quoted} is '{text}'")
    connection.execute(";".join([*written, "commit"]))
