"""The DuckDB warehouse: rows in, relations out.

Each relation is one SQL file with one statement in `marts`, each macro one in `schema`. They run in
the order of their files' numbers, over both folders: DuckDB looks at what a macro reads when it is
made, so one that reads relations comes after them. Reports are queries over all of them. The
finished file needs nothing of this package: every relation is a table or a view, with comments that
say what it and its columns are, and a plain DuckDB shell reads it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv

from analysis.asking import ArrowStream, Stream, question
from analysis.connecting import STORAGE, attach, extend, reading, refuse_if_held, with_room, writing
from analysis.drafts import draft_of, make_folder, unwritten
from analysis.limits import Limits
from analysis.meanings import COLUMNS, Meanings, comment
from analysis.reasons import as_os_error, is_unreadable, unreadable
from analysis.statuses import STATUSES
from unlearning import naming
from unlearning.errors import UserError

SQL = Path(__file__).parent / "sql"
UNAUDITED = "61"  # begins the names of files from which on no audit asks for what they make
TABLE_1 = Path(__file__).parent / "data" / "table1.csv"

_TEXT = pa.string()
_PAIR = pa.schema([("run_id", _TEXT), ("key", _TEXT), ("value", _TEXT)])

# What is predicted of an attempt, and of which of these there are intervals.
FORECAST = ("steps", "flips", "prob_lost", "points_lost", "forget_prob_diff", "gt")
BOUNDED = ("steps", "prob_lost", "points_lost", "gt")

# The rows that the warehouse is made of, a table each. The first column says whose they are.
STAGING = {
    "runs": pa.schema(
        [
            *(
                (name, _TEXT)
                for name in ("run_id", "name", "experiment_id", "experiment", "kind", "status")
            ),
            ("start_time", pa.timestamp("ms")),
            ("end_time", pa.timestamp("ms")),
            ("measured_at", _TEXT),
        ]
    ),
    "params": _PAIR,
    "tags": _PAIR,
    "metrics": pa.schema([("run_id", _TEXT), ("key", _TEXT), ("value", pa.float64())]),
    "histories": pa.schema(
        [("run_id", _TEXT), ("step", pa.int64())]
        + [(name, pa.float64()) for name in ("forget_prob", "forget_loss")]
    ),
    "plans": pa.schema([("run_id", _TEXT), ("key", _TEXT)]),
    "samples": pa.schema(
        [
            ("run_id", _TEXT),
            *((name, pa.int64()) for name in ("sample_id", "split_position", "label")),
            ("sample_path", _TEXT),
            ("factor", _TEXT),
            ("value", pa.float64()),
            ("at", pa.int64()),
        ]
    ),
    "costs": pa.schema(
        [
            ("run_id", _TEXT),
            ("asked", _TEXT),
            ("sample_id", pa.int64()),
            ("seconds", pa.float64()),
            ("at", pa.int64()),
        ]
    ),
    "catalogs": pa.schema(
        [
            *((name, _TEXT) for name in ("run_id", "factor", "title", "family", "phase")),
            *((name, _TEXT) for name in ("unit", "harder", "description", "undefined", "source")),
            ("position", pa.int64()),
        ]
    ),
    "predictions": pa.schema(
        [
            *((name, _TEXT) for name in ("run_id", "algorithm", "key")),
            ("sample_id", pa.int64()),
            ("label", pa.int64()),
            ("attempted", pa.bool_()),
            *((name, pa.float64()) for name in FORECAST),
            *((f"{name}_{end}", pa.float64()) for name in BOUNDED for end in ("low", "high")),
        ]
    ),
    "calibrations": pa.schema([("run_id", _TEXT), ("key", _TEXT)]),
    "requests": pa.schema(
        [
            ("run_id", _TEXT),
            *((name, pa.int64()) for name in ("place", "sample_id", "label")),
            ("sample_path", _TEXT),
            ("ended", _TEXT),
            ("is_wrong_now", pa.bool_()),
            *((name, pa.int64()) for name in ("rounds", "steps")),
            *((name, pa.float64()) for name in ("points_lost", "forget_prob")),
        ]
    ),
}

SWEEPS = "'indelible sweeps' lists those of the store, and 'indelible load' loads them"

# Of DuckDB's, where there is no room on the disk, or for what does not fit in memory.
UNWRITTEN = (
    *(duckdb.IOException, duckdb.FatalException),
    *(duckdb.TransactionException, duckdb.OutOfMemoryException),
)

# Not from MLflow's own tables.
FROM_FILES = ("plans", "catalogs", "predictions", "calibrations", "requests")


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
    """The ids of runs that a warehouse has to read, and of those whose rows it drops first."""

    read: list[str]
    forget: list[str]

    def __bool__(self) -> bool:
        return bool(self.read or self.forget)


def changes(path: Path, runs: pa.Table, store: str | None = None) -> Changes | None:
    """How the store's runs (see STAGING) differ from those of the warehouse at `path`.

    None where there is no warehouse, or one that is damaged, was made by another version or is that
    of another store. Raises Failure if another process holds it.

    Args:
        store: the id of the store, if it has one.
    """
    try:
        with open_warehouse(path) as warehouse:
            is_its = store is None or warehouse.store == store
            if not (is_its and warehouse.is_current and warehouse.is_whole):
                return None
            return warehouse.changes(runs.select(STAGING["runs"].names).cast(STAGING["runs"]))
    except (UserError, duckdb.Error):
        return None


def is_of_another_version(path: Path) -> bool:
    """Whether there is an undamaged warehouse that another version of this tool made."""
    try:
        with open_warehouse(path) as warehouse:
            return warehouse.is_whole and not warehouse.is_current
    except (UserError, duckdb.Error):
        return False


def rebuild(
    path: Path,
    staging: Mapping[str, pa.Table],
    forget: Sequence[str] | None = None,
    store: str | None = None,
    more: Iterable[Mapping[str, pa.Table]] = (),
) -> None:
    """Make the warehouse anew and put it in place of the old.

    The old file stays whole until the new one is complete; readers that have it open keep it.

    Args:
        staging: rows of every table of STAGING.
        forget: runs whose rows the old warehouse has and the new has not; all others are taken
            over. Nothing is taken over if this is None.
        store: the id of the store whose rows they are, if it has one.
        more: further rows of any of these tables, a part after the other.

    Raises UserError if it cannot be written, Failure if there is no room for it or if another
    process holds the old one.
    """
    what = f"the warehouse {path}"
    make_folder(path.parent, what)
    refuse_if_held(path)
    with draft_of(path, what) as draft:
        try:
            with writing(draft) as connection:
                _stage(connection, staging, store)
                for part in more:
                    _add(connection, part)
                if forget is not None:
                    _take_over(connection, path, forget)
                _relate(connection)
                _describe(connection)
        except UNWRITTEN as error:
            raise unwritten(what, as_os_error(error)) from error
        # What a shell that was killed left would be played into the new one.
        path.with_name(f"{path.name}.wal").unlink(missing_ok=True)


def from_files(path: Path, run_ids: Sequence[str]) -> dict[str, pa.Table]:
    """The rows that came from these runs' files (see FROM_FILES), as the warehouse has them.

    Empty tables if there is no warehouse, or it cannot be read; and what another version did not
    have yet.
    """
    kept = {name: STAGING[name].empty_table() for name in FROM_FILES}
    with suppress(UserError, duckdb.Error), open_warehouse(path) as warehouse:
        for name in kept:
            with suppress(duckdb.CatalogException, pa.ArrowException):
                kept[name] = warehouse.rows_of(name, run_ids)
    return kept


def audit(
    staging: Mapping[str, pa.Table],
    facts: Callable[[], Mapping[str, pa.Table]],
    more: Iterable[Mapping[str, pa.Table]] = (),
) -> Relation:
    """What is wrong with a store: one row an offence, from the queries in `sql/audits`.

    Args:
        staging, more: as for `rebuild`; without histories, which no audit asks for.
        facts: what SQL cannot see, a table each: `artifacts` (run_id, artifact, state), `folders`
            (run_id, path) and `behind` (offence). It is called when all parts were taken.

    Raises UserError or Failure where there is no room on the disk for it.
    """
    offences: list[tuple[Any, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            with writing(Path(folder) / "audit") as connection:
                _stage(connection, {"histories": STAGING["histories"].empty_table(), **staging})
                for part in more:
                    _add(connection, part)
                _relate(connection, before=UNAUDITED)
                for name, table in facts().items():
                    connection.register(name, table)
                for file in sorted((SQL / "audits").glob("*.sql")):
                    found = _fetch(connection.execute(file.read_text("utf-8")))
                    offences += [(file.stem, *row) for row in found.rows]
        except UNWRITTEN as error:
            what = f"what is checked, in {folder} for a while (TMPDIR names another place),"
            raise unwritten(what, as_os_error(error)) from error
    return Relation(["audit", "run_id", "name", "offence", "repair"], offences)


def _relate(connection: duckdb.DuckDBPyConnection, before: str | None = None) -> None:
    """Make all macros and relations from the staging rows, or those whose files come before."""
    extend(connection)
    for file in statements():
        if before is None or file.name < before:
            with_room(connection, file.read_text("utf-8"))


def _describe(connection: duckdb.DuckDBPyConnection) -> None:
    """Comment on all relations, columns and macros; a factor's is what the catalog says."""
    catalog = connection.execute("select factor, title, description from factor_catalog").fetchall()
    factors = {factor: ": ".join(filter(None, said)) for factor, *said in catalog}
    comment(connection, Meanings((file.read_text("utf-8") for file in statements()), factors))


def _stage(
    connection: duckdb.DuckDBPyConnection,
    staging: Mapping[str, pa.Table],
    store: str | None = None,
) -> None:
    connection.execute("create schema staging")
    connection.execute(
        "create table staging.made_by as select ? as sha256, ?::text as store", [_made_by(), store]
    )
    incoming = {name: staging[name].cast(schema) for name, schema in STAGING.items()}
    ours = {"table1": pa.csv.read_csv(TABLE_1), "statuses": pa.csv.read_csv(STATUSES)}
    for name, table in (incoming | ours).items():
        _take_in(connection, f'create table staging."{name}" as from incoming', table)


def _add(connection: duckdb.DuckDBPyConnection, staging: Mapping[str, pa.Table]) -> None:
    """Add rows to tables that are staged already."""
    for name, table in staging.items():
        rows = table.cast(STAGING[name])
        _take_in(connection, f'insert into staging."{name}" from incoming', rows)


def _take_in(connection: duckdb.DuckDBPyConnection, statement: str, incoming: pa.Table) -> None:
    """Execute a statement that reads a table of Arrow's by the name of `incoming`."""
    connection.register("incoming", incoming)
    connection.execute(statement)
    connection.unregister("incoming")


def _take_over(connection: duckdb.DuckDBPyConnection, path: Path, forget: Sequence[str]) -> None:
    connection.register("forgotten", pa.table({"run_id": pa.array(forget, _TEXT)}))
    try:
        attach(connection, path, "old")
        for name in STAGING:
            connection.execute(
                f'insert into staging."{name}" from old.staging."{name}" '  # noqa: S608 - our own names
                "where run_id not in (select run_id from forgotten)"
            )
        connection.execute("detach old")
    except duckdb.Error as error:
        if is_unreadable(error):
            raise unreadable(path, error) from error
        raise
    connection.unregister("forgotten")


@cache
def _made_by() -> str:
    """A fingerprint of everything that determines the relations, given the rows of a store."""
    digest = hashlib.sha256(f"{STAGING}{STORAGE}".encode())
    names = ("exact", "jackknife", "meanings", "reliability", "statistics")
    functions = (Path(__file__).with_name(f"{name}.py") for name in names)
    for file in (*statements(), TABLE_1, STATUSES, COLUMNS, *functions):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def statements() -> list[Path]:
    """The files of all macros and relations, in the order in which they run."""
    files = (file for folder in ("schema", "marts") for file in (SQL / folder).glob("*.sql"))
    return sorted(files, key=lambda file: file.name)


class Warehouse:
    """A read-only connection to a warehouse, with no access to files or anything else outside.

    Args:
        limits: of each of the user's own queries.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, limits: Limits) -> None:
        self._connection, self._path, self._limits = connection, path, limits

    @property
    def is_current(self) -> bool:
        """Whether it was made by this version of SQL, statistics and staging."""
        try:
            found = self._connection.execute("select sha256 from staging.made_by").fetchall()
        except duckdb.Error:
            return False
        return found == [(_made_by(),)]

    @property
    def store(self) -> str | None:
        """The id of the store whose rows it has; None where that is not known."""
        try:
            found = self._connection.execute("select store from staging.made_by").fetchone()
        except duckdb.Error:  # made by a version that did not say
            return None
        return found[0] if found else None

    @property
    def ends(self) -> tuple[int, int, str, str]:
        """How many runs were loaded, the sum of the times at which they ended, the last time at
        which factors were added to one, and all their names.
        """
        times = """
            select
                count(*), coalesce(sum(epoch_ms(end_time::timestamp)), 0),
                coalesce(max(measured_at), ''),
                coalesce(string_agg(coalesce(name, ''), ',' order by run_id), '')
            from staging.runs
        """
        found = self._connection.execute(times).fetchone()
        assert found
        return int(found[0]), int(found[1]), str(found[2]), str(found[3])

    @property
    def is_whole(self) -> bool:
        """Whether every row can be read: DuckDB looks at a block's checksum when it reads it."""
        tables = "select schema_name, table_name from duckdb_tables()"
        try:
            for names in self._connection.execute(tables).fetchall():
                table = ".".join('"' + name.replace('"', '""') + '"' for name in names)
                self._connection.execute(f"select bit_xor(hash(t)) from {table} as t").fetchall()  # noqa: S608 - its own names
        except duckdb.Error:
            return False
        return True

    def report(self, name: str, **parameters: object) -> Relation:
        """The result of `sql/reports/<name>.sql` with its parameters bound.

        Raises UserError if the warehouse is damaged, or was made by another version and lacks what
        it asks for.
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
        except duckdb.Error as error:
            if is_unreadable(error):
                raise unreadable(self._path, error) from error
            raise

    def query(self, statement: str, limit: int | None = None) -> Relation:
        """The result of the user's own query, or its first `limit` rows; as `stream`, at once."""
        with self.stream(statement, limit) as found:
            return Relation(found.columns, [row for block in found.blocks for row in block])

    @contextmanager
    def stream(self, statement: str, limit: int | None = None) -> Iterator[Stream]:
        """The result of the user's own query while it is computed, or its first `limit` rows.

        Raises UserError with DuckDB's reason, Failure where the query reaches a limit.
        """
        with question(self._connection, self._path, self._limits) as asked:
            yield asked.rows(statement, limit)

    @contextmanager
    def arrow(self, statement: str, limit: int | None = None) -> Iterator[ArrowStream]:
        """The same with DuckDB's types. Raises as `stream` does."""
        with question(self._connection, self._path, self._limits) as asked:
            yield asked.arrow(statement, limit)

    def explain(self, statement: str) -> str:
        """DuckDB's plan of the user's own query. Raises as `stream` does."""
        with self.stream(f"explain {statement}") as found:
            if not found.is_plan:
                raise UserError("only one query at a time can be explained")
            return "\n".join(str(plan) for block in found.blocks for _, plan in block)

    def types(self, statement: str) -> list[tuple[str, str]]:
        """The columns of a query and their types."""
        return [(name, kind) for name, kind, *_ in self.query(f"describe {statement}").rows]

    def rows_of(self, name: str, run_ids: Sequence[str]) -> pa.Table:
        """The rows of these runs in a table of the staging, whatever version it is of.

        Columns that it does not have are NULL.
        """
        query = f"from staging.{name} where run_id in (select unnest(?))"
        found: pa.Table = self._connection.sql(query, params=[list(run_ids)]).to_arrow_table()
        columns = [
            found[field.name].cast(field.type)
            if field.name in found.column_names
            else pa.nulls(found.num_rows, field.type)
            for field in STAGING[name]
        ]
        return pa.table(columns, schema=STAGING[name])

    def changes(self, runs: pa.Table) -> Changes:
        """How the store's runs differ from those that were loaded.

        A sweep whose plan was not there, and a prediction or an unlearning whose file was not, are
        read again each time.
        """
        self._connection.register("current", runs)
        asked = {
            "new": "select run_id from (from current except from staging.runs)",
            "old": "select run_id from (from staging.runs except from current)",
            "lost": """
                select run_id from current semi join staging.runs using (run_id)
                where
                    kind = 'sweep' and run_id not in (select run_id from staging.plans)
                    or kind = 'prediction' and status = 'FINISHED'
                    and run_id not in (select run_id from staging.predictions)
                    or kind = 'unlearning' and status = 'FINISHED'
                    and run_id not in (select run_id from staging.requests)
            """,
        }
        new, old, lost = (
            {run_id for (run_id,) in self._connection.execute(query).fetchall()}
            for query in asked.values()
        )
        return Changes(sorted(new | lost), sorted(old | lost))

    def sweep_id(self, reference: str) -> str:
        """The id of the sweep, as `unlearning.naming` finds it. Raises UserError if none is.

        The latest is the one that began last, as the views latest_... have it.
        """
        sweeps = [(row["sweep_id"], row["name"]) for row in self.report("sweeps").records()]
        if not sweeps:
            raise UserError(
                "the warehouse holds no sweep: run 'indelible sweep' and 'indelible load' first"
            )
        return naming.find(reference, sweeps, "sweep", SWEEPS)


@contextmanager
def open_warehouse(path: Path, limits: Limits | None = None) -> Iterator[Warehouse]:
    """The warehouse at `path`.

    Raises UserError if it is missing or not one, Failure if another process holds it.
    """
    limits = limits or Limits()
    with reading(path, limits.memory) as connection:
        yield Warehouse(connection, path, limits)


def _fetch(result: duckdb.DuckDBPyConnection) -> Relation:
    return Relation([name for name, *_ in result.description or []], result.fetchall())
