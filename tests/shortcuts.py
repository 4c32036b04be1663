"""What tests do only once, as it takes longer than what most of them are about.

MLflow's empty databases are made once in a process, then copied: each of some sixty migrations
takes its time on an empty file too, and as long again until the disk has them. What is copied is
what they have made, before anything is in it; the rest of opening a store is MLflow's own. Whether
members are faster stacked or one by one is not measured: they are stacked. The disk is not waited
for, as tests kill processes and no machines. Commands in processes that are not forked ones (see
`forked`), and databases of PostgreSQL, go the whole way.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow.store.db import utils
from sqlalchemy import Engine, event, inspect
from torch import Tensor

from tracker.sweep import parent
from unlearning.algorithm import Algorithm, Stepwise
from unlearning.base_model import BaseModel
from unlearning.engine import faster_execution
from unlearning.execution import Execution

_migrate: Callable[[Engine], None] = utils._initialize_tables


def take() -> None:
    """Take them from now on, in this process."""
    utils._initialize_tables = _copied
    # Else each store that is opened imports some sixty files of migrations, twice.
    utils._get_latest_schema_revision = functools.cache(utils._get_latest_schema_revision)
    parent.faster_execution = _stacked  # type: ignore[attr-defined]
    os.fsync = lambda fd: None
    event.listen(Engine, "connect", _unsynchronised)


def _unsynchronised(connection: Any, record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("pragma synchronous = off")


def _stacked(base: BaseModel, algorithm: Algorithm, positions: Tensor, seed: int) -> Execution:
    if isinstance(algorithm, Stepwise) and len(positions) > 1:
        return Execution.STACKED
    return faster_execution(base, algorithm, positions, seed)


def _copied(engine: Engine) -> None:
    if engine.dialect.name != "sqlite" or inspect(engine).get_table_names():
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
