"""MLflow's empty databases: made once in a process, then copied.

Each of some sixty migrations takes its time on an empty file too: together a second of a core, and
as long again until the disk has them. What is copied is what they have made, before anything is in
it; the rest of opening a store is MLflow's own. Commands in processes that are not forked ones
(see `forked`), and databases of PostgreSQL, go through the migrations.
"""

from __future__ import annotations

import functools
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from mlflow.store.db import utils
from sqlalchemy import Engine

_migrate: Callable[[Engine], None] = utils._initialize_tables


def copy_them() -> None:
    """From now on SQLite files that MLflow begins in this process are copies of one."""
    utils._initialize_tables = _copied


def _copied(engine: Engine) -> None:
    if engine.dialect.name != "sqlite" or not utils._is_empty_database(engine):
        _migrate(engine)
        return
    with closing(engine.raw_connection()) as connection:
        file = connection.driver_connection
        assert isinstance(file, sqlite3.Connection)
        with closing(sqlite3.connect(":memory:")) as first:
            first.deserialize(migrated())
            first.backup(file)


@functools.cache
def migrated() -> bytes:
    """A database without a row, as the migrations of the installed MLflow leave it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mlflow.db"
        engine = utils.create_sqlalchemy_engine(f"sqlite:///{file}")
        _migrate(engine)
        engine.dispose()
        return file.read_bytes()
