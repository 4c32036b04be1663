"""What an MLflow database holds, read by plain SQL before MLflow opens, and migrates, it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tracker.access.addresses import Address
from tracker.access.identity import TAG, Experiment
from tracker.access.patience import Patience
from unlearning.errors import Failure, UserError

Query = Callable[[str], list[tuple[Any, ...]]]

# Of this tool, deleted ones too; the one that was made first says whose database it is.
EXPERIMENTS = f"""
    select e.name, e.artifact_location, (
        select t.value from experiment_tags as t
        where t.experiment_id = e.experiment_id and t.key = '{TAG}'
    )
    from experiments as e where e.name like 'indelible/%' order by e.experiment_id
"""  # noqa: S608 - no value is pasted in
BACKUP = "put a backup in its place, and delete the files -wal and -shm beside it"
ENDS = """
    select count(*), coalesce(sum(r.end_time), 0)
    from runs as r join experiments as e on e.experiment_id = r.experiment_id
    where e.name like 'indelible/%' and r.lifecycle_stage = 'active'
"""
REVISION = "select version_num from alembic_version"


@dataclass(frozen=True)
class Contents:
    """What is in a database.

    Attributes:
        revision: of MLflow's schema; None where MLflow has not made its tables yet.
        experiments: of this tool, in the order in which they were made.
    """

    revision: str | None = None
    experiments: tuple[Experiment, ...] = ()


def look(address: Address, patience: Patience) -> Contents:
    """What the database holds; nothing where there is none yet.

    Raises UserError without a driver for it, Failure where it cannot be reached or is damaged.
    """
    if address.file is not None and not address.file.exists():
        return Contents()
    return patience(lambda: _look(address))


def check_pages(address: Address) -> None:
    """Raise Failure where a database that is a file is damaged: SQLite reads all of it."""
    if address.file is not None:
        with _file(address) as ask:
            problems = [str(row[0]) for row in ask("pragma quick_check(1)")]
        if problems != ["ok"]:
            problem = " ".join(problems[0].split())
            raise Failure(f"the database {address.file} is damaged ({problem}): {BACKUP}")


def ends(address: Address) -> tuple[int, int] | None:
    """How many runs an embedded store has, and the sum of the times at which they ended.

    None where it is not known: it is another store, or cannot be read now.
    """
    if not address.is_embedded or address.file is None or not address.file.exists():
        return None
    with suppress(Failure, sqlite3.Error), _file(address) as ask:
        ((runs, times),) = ask(ENDS)
        return int(runs), int(times)
    return None


def _look(address: Address) -> Contents:
    with _asking(address) as (has_table, ask):
        if not has_table("alembic_version"):
            return Contents()
        revision = next((str(row[0]) for row in ask(REVISION)), None)
        if not has_table("experiments"):
            return Contents(revision)
        return Contents(revision, tuple(Experiment(*row) for row in ask(EXPERIMENTS)))


@contextmanager
def _asking(address: Address) -> Iterator[tuple[Callable[[str], bool], Query]]:
    """Two functions of a database: whether it has a table, and the rows of a query."""
    if address.file is not None:
        with _file(address) as ask:
            yield lambda table: bool(ask(f"pragma table_info({table})")), ask
        return
    import sqlalchemy

    engine = _engine(address)
    try:
        with engine.connect() as connection:
            yield (
                sqlalchemy.inspect(connection).has_table,
                lambda query: [tuple(row) for row in connection.execute(sqlalchemy.text(query))],
            )
    finally:
        engine.dispose()


@contextmanager
def _file(address: Address) -> Iterator[Query]:
    try:
        with closing(sqlite3.connect(address.for_reading, uri=True, timeout=1.0)) as connection:
            yield lambda query: connection.execute(query).fetchall()
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise
        raise Failure(f"the database {address.file} cannot be read ({error}): {BACKUP}") from error


def _engine(address: Address) -> Any:
    import sqlalchemy

    try:
        return sqlalchemy.create_engine(address.uri)
    except ImportError as error:
        raise UserError(
            f"{address.shown} needs the Python module '{error.name}': install it"
            + (" with pip install 'indelible[postgres]'" if "postgres" in address.dialect else "")
        ) from error
    except sqlalchemy.exc.ArgumentError as error:
        raise UserError(f"the tracking URI {address.shown} is not understood") from error
