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
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv

from analysis.atomic import make_folder, written_atomically
from analysis.connecting import (
    CLOSED,
    MEMORY,
    STORAGE,
    ArrowStream,
    Config,
    Limits,
    Stream,
    attach,
    extend,
    interruptible,
    is_unreadable,
    opened,
    query,
    unreadable,
    with_room,
    writing,
)
from analysis.meanings import (
    COLUMNS,
    SQL,
    Column,
    Header,
    column_meaning,
    comment,
    factors_of,
    headers,
    statements,
)
from analysis.words import STATUSES
from unlearning import naming
from unlearning.errors import UserError

Parts = Iterable[Mapping[str, pa.Table]]  # rows of any tables of STAGING, a part after the other

MANY = 10**6  # rows of the staging: of more each relation has a transaction, or memory is short
UNAUDITED = "61"  # begins the names of files from which on no audit asks for what they make
TABLE_1 = Path(__file__).parent / "data" / "table1.csv"

Table = duckdb.DuckDBPyRelation  # an answer in memory, which knows nothing of the file

# What is predicted of an attempt, and of which of these there are intervals.
FORECAST = ("steps", "flips", "prob_lost", "points_lost", "forget_prob_diff", "gt")
BOUNDED = ("steps", "prob_lost", "points_lost", "gt")

TYPES = {
    **{"": pa.string(), "int": pa.int64(), "float": pa.float64()},
    **{"bool": pa.bool_(), "time": pa.timestamp("ms")},
}


def _schema(columns: str) -> pa.Schema:
    """Columns with their types (see TYPES) behind a colon."""
    split = (column.partition(":") for column in columns.split())
    return pa.schema([(name, TYPES[kind]) for name, _, kind in split])


# The rows that the warehouse is made of, a table each. The first column says whose they are.
STAGING = {
    "runs": _schema(
        "run_id name experiment_id experiment kind status start_time:time end_time:time measured_at"
    ),
    "params": _schema("run_id key value"),
    "tags": _schema("run_id key value"),
    "metrics": _schema("run_id key value:float"),
    "histories": _schema("run_id step:int forget_prob:float forget_loss:float"),
    "plans": _schema("run_id key"),
    "samples": _schema(
        "run_id sample_id:int split_position:int label:int sample_path factor value:float at:int"
    ),
    "costs": _schema("run_id asked sample_id:int seconds:float at:int"),
    "catalogs": _schema(
        "run_id factor title family phase unit harder description undefined source position:int"
    ),
    "predictions": _schema(
        "run_id algorithm key sample_id:int label:int attempted:bool "
        + " ".join(f"{name}:float" for name in FORECAST)
        + "".join(f" {name}_low:float {name}_high:float" for name in BOUNDED)
    ),
    "calibrations": _schema("run_id key"),
    "audit_phi": _schema(
        "run_id algorithm sample_id:int model:int saw:bool is_audited:bool phi:float z:float "
        "z_limit:float copies_z:float neighbours_z:float points_lost:float steps:float"
    ),
    "requests": _schema(
        "run_id place:int sample_id:int label:int sample_path ended is_wrong_now:bool rounds:int "
        "steps:int points_lost:float forget_prob:float z:float z_error:float z_limit:float "
        "z_untouched:float z_retrained:float"
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
    """The ids of runs that a warehouse has to read, and of those whose rows it drops first."""

    read: list[str]
    forget: list[str]

    def __bool__(self) -> bool:
        return bool(self.read or self.forget)


class Warehouse:
    """A read-only connection to a warehouse, with no access to files or anything else outside.

    Args:
        limits: of each of the user's own queries.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, limits: Limits) -> None:
        self.connection, self._path, self._limits = connection, path, limits

    @property
    def is_current(self) -> bool:
        """Whether it was made by this version of SQL, statistics and staging."""
        return self._made_by("sha256") == _made_by()

    @property
    def store(self) -> str | None:
        """The id of the store whose rows it has; None where that is not known."""
        return self._made_by("store")

    def _made_by(self, column: str) -> str | None:
        with suppress(duckdb.Error):  # made by a version that did not say
            statement = f"select {column} from staging.made_by"  # noqa: S608 - our own names
            for (value,) in self.connection.execute(statement).fetchall():
                return None if value is None else str(value)
        return None

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
        ((runs, ended, measured, names),) = self.connection.execute(times).fetchall()
        return int(runs), int(ended), str(measured), str(names)

    def report(self, name: str, **parameters: object) -> Relation:
        """The result of `sql/reports/<name>.sql` with its parameters bound.

        Raises UserError if the warehouse is damaged, or was made by another version and lacks what
        it asks for.
        """
        statement = (SQL / "reports" / f"{name}.sql").read_text("utf-8")
        try:
            try:
                return _fetch(self.connection.execute(statement, parameters or None))
            except (duckdb.OutOfMemoryException, duckdb.IOException):  # no room for it on the disk
                with opened(self._path) as roomy:
                    return _fetch(roomy.execute(statement, parameters or None))
        except duckdb.Error as error:
            is_binding = isinstance(error, (duckdb.CatalogException, duckdb.BinderException))
            if is_binding and not self.is_current:
                raise UserError(
                    "the warehouse was made by another version of indelible: run 'indelible load'"
                ) from error
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
        with query(self.connection, self._path, self._limits, statement) as asked_for:
            yield asked_for.rows(statement, limit)

    @contextmanager
    def arrow(self, statement: str, limit: int | None = None) -> Iterator[ArrowStream]:
        """The same with DuckDB's types. Raises as `stream` does."""
        with query(self.connection, self._path, self._limits, statement) as asked_for:
            yield asked_for.arrow(statement, limit)

    def explain(self, statement: str) -> str:
        """DuckDB's plan of the user's own query. Raises as `stream` does."""
        plan = self.query(f"explain {statement}")
        if plan.columns != ["explain_key", "explain_value"]:
            raise UserError("only one query at a time can be explained")
        return "\n".join(str(text) for _, text in plan.rows)

    def types(self, statement: str) -> list[tuple[str, str]]:
        """The columns of a query and their types."""
        return [(name, kind) for name, kind, *_ in self.query(f"describe {statement}").rows]

    def sweep_id(self, reference: str) -> str:
        """The id of the sweep, as `unlearning.naming` finds it. Raises UserError if none is.

        The latest is the one that began last and is no study's, as the macro find_sweep has it.
        """
        rows = self.report("sweeps").records()
        known = [row for row in rows if reference != naming.LATEST or row["study"] is None]
        sweeps = [(row["sweep_id"], row["name"]) for row in known]
        if not sweeps:
            raise UserError(
                "the warehouse holds no sweep: run 'indelible sweep' and 'indelible load' first"
            )
        listed = "'indelible sweeps' lists those of the store, and 'indelible load' loads them"
        return naming.find(reference, sweeps, "sweep", listed)


@contextmanager
def open_warehouse(path: Path, limits: Limits | None = None) -> Iterator[Warehouse]:
    """The warehouse at `path`.

    Args:
        limits: of the user's own queries. Without any, what is asked keeps to MEMORY, if it can.

    Raises UserError if it is missing or not one, Failure if another process holds it.
    """
    with tempfile.TemporaryDirectory() as folder, interruptible():
        memory, spilled = (MEMORY, folder) if limits is None else (limits.setting, "")
        with opened(path, memory, spilled) as connection:
            yield Warehouse(connection, path, limits or Limits())


def described(warehouse: Warehouse) -> list[Header]:
    """Every relation whose header has an example with its columns, in the order of making."""
    factors, found = factors_of(warehouse.connection), []
    for name, header in headers().items():
        if header.example:
            types = warehouse.types(f"from {name}" if header.name == name else header.example)
            columns = [Column(c, kind, column_meaning(name, c, factors)) for c, kind in types]
            found.append(replace(header, columns=columns))
    return found


def asked(warehouse: Warehouse, statement: str) -> Table:
    """The whole answer to a query of the user's own, which later loads leave as it is.

    Raises UserError with DuckDB's reason.
    """
    with warehouse.arrow(statement) as stream:
        return held(pa.Table.from_batches(stream.batches, stream.schema))


def held(rows: pa.Table) -> Table:
    """Rows of Arrow's as a relation on a connection of its own, without access to files."""
    config: Config = dict.fromkeys(CLOSED, False)
    connection = duckdb.connect(":memory:", config=config)
    relation = connection.from_arrow(rows)
    connection.execute("set lock_configuration = true")
    return relation


# What was loaded


def changes(path: Path, runs: pa.Table, store: str | None = None) -> Changes | None:
    """How the store's runs (see STAGING) differ from those of the warehouse at `path`.

    None where there is no warehouse, or one that is damaged, was made by another version or is that
    of another store. A sweep whose plan was not there, and a prediction or an unlearning whose file
    was not, are read again each time. Raises Failure if another process holds it.

    Args:
        store: the id of the store, if it has one.
    """
    compared = """
        select run_id, true as read, false as forget
        from (from current except from staging.runs)
        union all
        select run_id, false, true from (from staging.runs except from current)
        union all
        select run_id, true, true from current semi join staging.runs using (run_id)
        where
            kind = 'sweep' and run_id not in (select run_id from staging.plans)
            or kind = 'prediction' and status = 'FINISHED'
            and run_id not in (select run_id from staging.predictions)
            or kind = 'unlearning' and status = 'FINISHED'
            and run_id not in (select run_id from staging.requests)
    """
    with suppress(UserError, duckdb.Error), open_warehouse(path) as warehouse:
        if warehouse.is_current and (store is None or warehouse.store == store):
            current = runs.select(STAGING["runs"].names).cast(STAGING["runs"])
            found = warehouse.connection.register("current", current).execute(compared).fetchall()
            return Changes(
                sorted({run_id for run_id, is_read, _ in found if is_read}),
                sorted({run_id for run_id, _, is_forgotten in found if is_forgotten}),
            )
    return None


# Making one


def rebuild(
    path: Path,
    staging: Mapping[str, pa.Table],
    forget: Sequence[str] | None = None,
    store: str | None = None,
    more: Parts = (),
) -> None:
    """Make the warehouse anew and put it in place of the old.

    The old file stays whole until the new one is complete; readers that have it open keep it.

    Args:
        staging: rows of tables of STAGING.
        forget: runs whose rows the old warehouse has and the new has not; all others are taken
            over. Nothing is taken over if this is None.
        store: the id of the store whose rows they are, if it has one.
        more: further rows of any of these tables, a part after the other.

    Raises UserError if it cannot be written, Failure if there is no room for it or if another
    process holds the old one.
    """
    what = f"the warehouse {path}"
    make_folder(path.parent, what)
    with suppress(UserError):  # there is none yet, or it is damaged
        opened(path).close()
    with written_atomically(path, what) as draft:
        with writing(draft, what) as connection:
            _stage(connection, chain([staging], more), store)
            if forget is not None:
                _take_over(connection, path, forget)
            _relate(connection)
            comment(connection)
        # What a shell that was killed left would be played into the new one.
        path.with_name(f"{path.name}.wal").unlink(missing_ok=True)


def audit(
    staging: Mapping[str, pa.Table],
    facts: Callable[[], Mapping[str, pa.Table]],
    more: Parts = (),
) -> Relation:
    """What is wrong with a store: one row per problem, from the queries in `sql/audits`.

    Args:
        staging, more: as for `rebuild`; without histories, which no audit asks for.
        facts: what SQL cannot see, a table each: `artifacts` (run_id, problem, repair), `files` and
            `folders` (run_id, path). It is called when all parts were taken.

    Raises UserError or Failure where there is no room on the disk for it.
    """
    problems: list[tuple[Any, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        what = f"what is checked, in {folder} for a while (TMPDIR names another place),"
        with writing(Path(folder) / "audit", what) as connection:
            _stage(connection, chain([staging], more))
            _relate(connection, before=UNAUDITED)
            for name, table in facts().items():
                connection.register(name, table)
            for file in sorted((SQL / "audits").glob("*.sql")):
                found = _fetch(connection.execute(file.read_text("utf-8")))
                problems += [(file.stem, *row) for row in found.rows]
    return Relation(["audit", "run_id", "name", "problem", "repair"], problems)


def _relate(connection: duckdb.DuckDBPyConnection, before: str | None = None) -> None:
    """Make all macros and relations from the staging rows, or those whose files come before."""
    extend(connection)
    files = (file for file in statements() if before is None or file.name < before)
    making = (file.read_text("utf-8") for file in files)
    every = ["create schema internal", *making]
    ((rows,),) = connection.execute("select sum(estimated_size) from duckdb_tables()").fetchall()
    for some in [every] if rows < MANY else [[each] for each in every]:
        with_room(connection, some)


def _stage(connection: duckdb.DuckDBPyConnection, parts: Parts, store: str | None = None) -> None:
    made_by = pa.table({"sha256": [_made_by()], "store": pa.array([store], pa.string())})
    ours = {"table1": pa.csv.read_csv(TABLE_1), "statuses": pa.csv.read_csv(STATUSES)}
    empty = {name: schema.empty_table() for name, schema in STAGING.items()}
    for name, table in (first := {"made_by": made_by} | empty | ours).items():
        connection.register(f"incoming_{name}", table)
    making = (f"create table staging.{name} as from incoming_{name}" for name in first)
    with_room(connection, ["create schema staging", *making])
    for part in parts:
        for name, table in part.items():
            connection.register(f"incoming_{name}", table.cast(STAGING[name]))
        with_room(connection, [f"insert into staging.{name} from incoming_{name}" for name in part])
    for name in first:
        connection.unregister(f"incoming_{name}")


def _take_over(connection: duckdb.DuckDBPyConnection, path: Path, forget: Sequence[str]) -> None:
    """Copy the rows of the old warehouse but those of these runs."""
    connection.register("forgotten", pa.table({"run_id": pa.array(forget, pa.string())}))
    try:
        attach(connection, path, "old")
        taking = (
            f"insert into staging.{name} from old.staging.{name} "  # noqa: S608 - our own names
            "where run_id not in (select run_id from forgotten)"
            for name in STAGING
        )
        with_room(connection, taking)
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
    functions = (Path(__file__).with_name(f"{name}.py") for name in ("meanings", "statistics"))
    for file in (*statements(), TABLE_1, STATUSES, COLUMNS, *functions):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _fetch(result: duckdb.DuckDBPyConnection) -> Relation:
    """The rows. A list of numbers is an array: Python's own numbers take four times the memory."""
    described = result.description or []
    columns = [name for name, *_ in described]
    are_numbers = [str(kind) == "DOUBLE[]" for _, kind, *_ in described]
    if not any(are_numbers):
        return Relation(columns, result.fetchall())
    rows = list[tuple[Any, ...]]()
    while (row := result.fetchone()) is not None:
        pairs = zip(row, are_numbers, strict=True)
        rows.append(tuple(np.array(v, float) if is_list and v else v for v, is_list in pairs))
    return Relation(columns, rows)
