"""The DuckDB warehouse: rows in, relations out.

Each relation, and each macro, is one SQL file with one statement. They run in the order of their
files' numbers, `schema` before `marts`; reports are queries over them. The finished file needs
nothing of this package: every relation is a table, and a plain DuckDB shell reads it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Timer
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv

from indelible.analysis.statistics import chi_square_p_value, spearman_p_value
from indelible.errors import Failure, UserError
from indelible.processes import process_is_gone

SQL = Path(__file__).parent / "sql"
TABLE_1 = Path(__file__).parent / "data" / "table1.csv"

_TEXT = pa.string()
_PAIR = pa.schema([("run_id", _TEXT), ("key", _TEXT), ("value", _TEXT)])

# The rows that the warehouse is made of, a table each. The first column says whose they are.
STAGING = {
    "runs": pa.schema(
        [
            *((name, _TEXT) for name in ("run_id", "name", "experiment", "kind", "status")),
            ("start_time", pa.timestamp("ms")),
            ("end_time", pa.timestamp("ms")),
        ]
    ),
    "params": _PAIR,
    "tags": _PAIR,
    "metrics": pa.schema([("run_id", _TEXT), ("key", _TEXT), ("value", pa.float64())]),
    "plans": pa.schema([("run_id", _TEXT), ("key", _TEXT)]),
    "catalogs": pa.schema(
        [
            *((name, _TEXT) for name in ("run_id", "factor", "title", "family", "phase")),
            *((name, _TEXT) for name in ("unit", "harder", "description", "undefined", "source")),
            ("position", pa.int64()),
        ]
    ),
}


@dataclass(frozen=True)
class Relation:
    """The result of a query: column names, and rows of plain values."""

    columns: list[str]
    rows: list[tuple[Any, ...]]

    def records(self) -> list[dict[str, Any]]:
        """The rows as mappings from column to value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Changes:
    """Run ids: what a warehouse has to read, and what it has to forget first."""

    read: list[str]
    forget: list[str]

    def __bool__(self) -> bool:
        return bool(self.read or self.forget)


def changes(path: Path, runs: pa.Table) -> Changes | None:
    """How the store's runs (see STAGING) differ from those of the warehouse at `path`.

    None where there is no warehouse, or one that is damaged or was made by another version.
    """
    try:
        with open_warehouse(path) as warehouse:
            if not warehouse.is_current:
                return None
            return warehouse.changes(runs.select(STAGING["runs"].names).cast(STAGING["runs"]))
    except UserError:
        return None


def rebuild(
    path: Path, staging: Mapping[str, pa.Table], forget: Sequence[str] | None = None
) -> None:
    """Make the warehouse anew and put it in place of the old.

    The old file stays whole until the new one is complete; readers that have it open keep it.

    Args:
        staging: rows of every table of STAGING.
        forget: runs whose rows the old warehouse has and the new has not; all others are taken
            over. Nothing is taken over if this is None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    for left in path.parent.glob(f".{path.name}.*"):  # by a process that was killed
        if process_is_gone(int(left.name.removesuffix(".wal").rpartition(".")[2])):
            left.unlink()
    try:
        with duckdb.connect(str(draft)) as connection:
            _stage(connection, staging)
            if forget is not None:
                _take_over(connection, path, forget)
            _relate(connection)
        draft.replace(path)
    except (OSError, duckdb.IOException) as error:
        raise UserError(f"the warehouse {path} cannot be written: {_first_line(error)}") from error
    finally:
        draft.unlink(missing_ok=True)
        Path(f"{draft}.wal").unlink(missing_ok=True)


def plans(path: Path, sweep_ids: Sequence[str]) -> dict[str, pa.Table]:
    """What the warehouse at `path` has of the plans of sweeps: their rows in STAGING's tables.

    None are there where there is no warehouse, or one that cannot be read.
    """
    asked = {"plans": "staging.plans", "catalogs": "staging.catalogs"}
    try:
        with open_warehouse(path) as warehouse:
            return {name: warehouse.rows_of(table, sweep_ids) for name, table in asked.items()}
    except UserError:
        return {name: STAGING[name].empty_table() for name in asked}


def audit(staging: Mapping[str, pa.Table], facts: Mapping[str, pa.Table]) -> Relation:
    """What is wrong with a store: a row an offence, from every query in `sql/audits`.

    Args:
        staging: as for `rebuild`.
        facts: what SQL cannot see, a table each: `artifacts` (run_id, artifact, state), `folders`
            (run_id, path) and `behind` (offence).
    """
    offences: list[tuple[Any, ...]] = []
    with duckdb.connect() as connection:
        _stage(connection, staging)
        _relate(connection)
        for name, table in facts.items():
            connection.register(name, table)
        for file in sorted((SQL / "audits").glob("*.sql")):
            found = _fetch(connection.execute(file.read_text("utf-8")))
            offences += [(file.stem, *row) for row in found.rows]
    return Relation(["audit", "run_id", "name", "offence", "repair"], offences)


def _relate(connection: duckdb.DuckDBPyConnection) -> None:
    """Make every macro and relation over the staging rows."""
    _extend(connection)
    for file in _statements():
        connection.execute(file.read_text("utf-8"))


def _stage(connection: duckdb.DuckDBPyConnection, staging: Mapping[str, pa.Table]) -> None:
    connection.execute("create schema staging")
    connection.execute("create table staging.made_by as select ? as sha256", [_made_by()])
    incoming = {name: staging[name].cast(schema) for name, schema in STAGING.items()}
    for name, table in (incoming | {"table1": pa.csv.read_csv(TABLE_1)}).items():
        connection.register("incoming", table)
        connection.execute(f'create table staging."{name}" as from incoming')
        connection.unregister("incoming")


def _take_over(connection: duckdb.DuckDBPyConnection, path: Path, forget: Sequence[str]) -> None:
    connection.register("forgotten", pa.table({"run_id": pa.array(forget, _TEXT)}))
    quoted = str(path).replace("'", "''")
    connection.execute(f"attach '{quoted}' as old (read_only)")
    for name in STAGING:
        connection.execute(
            f'insert into staging."{name}" from old.staging."{name}" '  # noqa: S608 - our own names
            "where run_id not in (select run_id from forgotten)"
        )
    connection.execute("detach old")
    connection.unregister("forgotten")


@cache
def _made_by() -> str:
    """The fingerprint of all that makes relations of a store's rows."""
    digest = hashlib.sha256(str(STAGING).encode())
    for file in (*_statements(), TABLE_1, Path(__file__).with_name("statistics.py")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _statements() -> list[Path]:
    """The files of all macros and relations, in the order in which they run."""
    return [file for folder in ("schema", "marts") for file in sorted((SQL / folder).glob("*.sql"))]


class Warehouse:
    """A read-only connection to a warehouse, with no access to files or anything else outside."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @property
    def is_current(self) -> bool:
        """Whether it was made by this version of SQL, statistics and staging."""
        try:
            found = self._connection.execute("select sha256 from staging.made_by").fetchall()
        except duckdb.Error:
            return False
        return found == [(_made_by(),)]

    def report(self, name: str, **parameters: object) -> Relation:
        """The result of `sql/reports/<name>.sql` with its parameters bound.

        Raises UserError if the warehouse was made by another version and lacks what it asks for.
        """
        statement = (SQL / "reports" / f"{name}.sql").read_text("utf-8")
        try:
            return _fetch(self._connection.execute(statement, parameters or None))
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            if self.is_current:
                raise
            raise UserError(
                "the warehouse was made by another version of indelible: run 'indelible load'"
            ) from error

    def query(
        self, statement: str, limit: int | None = None, seconds: float | None = None
    ) -> Relation:
        """The result of the user's own query, or its first `limit` rows.

        Raises UserError with DuckDB's reason, Failure if it takes longer than `seconds`.
        """
        with self._answering(seconds) as connection:
            return _fetch(connection.execute(statement), limit)

    def arrow(self, statement: str, seconds: float | None = None) -> pa.Table:
        """The result of the user's own query with its types. Raises as `query` does."""
        with self._answering(seconds) as connection:
            found = connection.sql(statement)
            if found is None:
                return pa.table({})
            table = found.to_arrow_table()
            return table.rename_columns(_distinct(table.column_names))

    def explain(self, statement: str) -> str:
        """DuckDB's plan of the user's own query. Raises UserError with its reason."""
        return str(self.query(f"explain {statement}").rows[0][1])

    def types(self, statement: str) -> list[tuple[str, str]]:
        """The columns of a query and their types."""
        return [(name, kind) for name, kind, *_ in self.query(f"describe {statement}").rows]

    @contextmanager
    def _answering(self, seconds: float | None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own that is stopped after a while; errors become the user's."""
        with self._connection.cursor() as connection:
            timer = Timer(seconds or 0, connection.interrupt)
            if seconds is not None:
                timer.start()
            try:
                yield connection
            except duckdb.InterruptException as error:
                raise Failure(f"the query took longer than {seconds:g} s") from error
            except duckdb.Error as error:
                raise UserError(f"the query failed: {_first_line(error)}") from error
            finally:
                timer.cancel()

    def rows_of(self, table: str, run_ids: Sequence[str]) -> pa.Table:
        """The rows of these runs in a table of the staging."""
        query = f"from {table} where run_id in (select unnest(?))"
        found: pa.Table = self._connection.sql(query, params=[list(run_ids)]).to_arrow_table()
        return found.cast(STAGING[table.removeprefix("staging.")])

    def changes(self, runs: pa.Table) -> Changes:
        """How the store's runs differ from those that were loaded.

        A sweep whose plan was not there is read again each time.
        """
        self._connection.register("current", runs)
        asked = {
            "new": "select run_id from (from current except from staging.runs)",
            "old": "select run_id from (from staging.runs except from current)",
            "lost": """
                select run_id from current semi join staging.runs using (run_id)
                where kind = 'sweep' and run_id not in (select run_id from staging.plans)
            """,
        }
        new, old, lost = (
            {run_id for (run_id,) in self._connection.execute(query).fetchall()}
            for query in asked.values()
        )
        return Changes(sorted(new | lost), sorted(old | lost))

    def sweep_id(self, reference: str) -> str:
        """The id of the sweep of that id, or the `latest`. Raises UserError if there is none."""
        ids = [row[0] for row in self.report("sweeps").rows]
        if not ids:
            raise UserError(
                "the warehouse holds no sweep: run 'indelible sweep' and 'indelible load' first"
            )
        if reference == "latest":
            return str(ids[0])
        if reference not in ids:
            raise UserError(f"no sweep '{reference}' in the warehouse: 'indelible sweeps' lists it")
        return reference


@contextmanager
def open_warehouse(path: Path) -> Iterator[Warehouse]:
    """The warehouse at `path`. Raises UserError if it is missing or not one."""
    if not path.exists():
        raise UserError(f"there is no warehouse at {path}: run 'indelible load' first")
    try:
        connection = duckdb.connect(
            str(path),
            read_only=True,
            config={
                "enable_external_access": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
    except duckdb.Error as error:
        raise UserError(
            f"{path} is not a warehouse that can be read ({_first_line(error)}): "
            "delete it and run 'indelible load'"
        ) from error
    with connection:
        _extend(connection)
        connection.execute("set lock_configuration = true")
        yield Warehouse(connection)


def _extend(connection: duckdb.DuckDBPyConnection) -> None:
    """Give SQL the functions that it lacks."""
    for function in (spearman_p_value, chi_square_p_value):
        connection.create_function(function.__name__, function, ["DOUBLE", "BIGINT"], "DOUBLE")


def _fetch(result: duckdb.DuckDBPyConnection, limit: int | None = None) -> Relation:
    columns = _distinct([name for name, *_ in result.description or []])
    return Relation(columns, result.fetchall() if limit is None else result.fetchmany(limit))


def _distinct(names: Sequence[str]) -> list[str]:
    """A join may give two columns one name."""
    earlier = [names[:k].count(name) for k, name in enumerate(names)]
    return [f"{name}_{n + 1}" if n else name for name, n in zip(names, earlier, strict=True)]


def _first_line(error: Exception) -> str:
    return " ".join(str(error).splitlines()[:1])
