"""What relations, their columns and macros mean: the headers of their SQL files, and columns.toml.

They are written into the warehouse as comments, and `indelible schema` reads them there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import duckdb

SQL = Path(__file__).parent / "sql"
COLUMNS = Path(__file__).parent / "data" / "columns.toml"
HEADER = re.compile(r"(?:-- .*\n)+")
ENTRY = re.compile(r"((?:\w+, )*\w+): (.*)")
LATEST = "latest_"  # how the name of a view begins that has one sweep's rows of a relation


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


def statements() -> list[Path]:
    """The files of all macros and relations, in the order in which they run."""
    files = (file for folder in ("schema", "marts") for file in (SQL / folder).glob("*.sql"))
    return sorted(files, key=lambda file: file.name)


class Meanings:
    """What relations, columns and macros mean.

    Args:
        factors: what factors mean that are columns of a relation, by name.
    """

    def __init__(self, factors: Mapping[str, str]) -> None:
        found = [header(file.read_text("utf-8")) for file in statements()]
        self.headers = {each.bare_name: each for each in found}
        self._factors = factors

    def of_column(self, relation: str, column: str) -> str:
        """What a column of a relation or macro means. Raises KeyError if nothing says that."""
        own = [self.headers.get(name) for name in (relation, relation.removeprefix(LATEST))]
        entries = [found.entries for found in own if found]
        for known in (*entries, shared()["same"], shared()["of_the_row"], self._factors):
            if column in known:
                return known[column]
        raise KeyError(f"{relation}.{column}")

    def of(self, kind: str, schema: str, name: str, column: str | None) -> str:
        """What a thing of DuckDB's catalog means, where `kind` is as SQL says it."""
        if column is not None:
            return self.of_column(name, column)
        if schema == "staging":
            return shared()["staging"][name]
        found = self.headers[name]
        if "macro" not in kind:
            return found.meaning
        more = [f"{names}: {said}" for names, said in found.entries.items()]
        return " ".join([f"{found.name}: {found.meaning}", *more])


THINGS = """
    select 'table' as kind, schema_name, table_name as name, null as column from duckdb_tables()
    union all
    select 'view', schema_name, view_name, null from duckdb_views() where not internal
    union all
    select 'column', schema_name, table_name, column_name from duckdb_columns()
    where schema_name = 'main' and not internal
    union all
    select distinct
        if(function_type = 'macro', 'macro', 'macro table'), schema_name, function_name, null
    from duckdb_functions() where not internal and function_type in ('macro', 'table_macro')
"""


def comment(connection: duckdb.DuckDBPyConnection) -> None:
    """Write a comment on every relation, column and macro of a warehouse that was just made.

    A factor's is what the catalog says.
    """
    catalog = connection.execute("select factor, title, description from factor_catalog").fetchall()
    meanings = Meanings({factor: ": ".join(filter(None, said)) for factor, *said in catalog})
    written = ["begin"]
    for kind, schema, name, column in connection.execute(THINGS).fetchall():
        said = meanings.of(kind, schema, name, column).replace("'", "''")
        names = [schema, name] if column is None else [schema, name, column]
        quoted = ".".join('"' + part.replace('"', '""') + '"' for part in names)
        written.append(f"comment on {kind} {quoted} is '{said}'")
    connection.execute(";".join([*written, "commit"]))
