"""The schema of MLflow's database: the one of the installed MLflow, and the upgrade to it."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from mlflow.store.db.utils import _get_alembic_config, _upgrade_db, create_sqlalchemy_engine

from tracker.access.addresses import Address
from tracker.access.database import Contents


def latest_revision(revision: str | None) -> tuple[str, bool]:
    """The schema of the installed MLflow, and whether it knows the `revision` of a database."""
    scripts = ScriptDirectory.from_config(_get_alembic_config(""))
    (latest,) = scripts.get_heads()
    try:
        known = revision is not None and scripts.get_revision(revision) is not None
    except CommandError:
        known = False
    return latest, known


def upgrade(address: Address, contents: Contents) -> Path:
    """Bring a SQLite file up to date, after a copy of it was made; the copy's path."""
    assert address.file is not None
    backup = address.file.with_name(f"{address.file.name}.{contents.revision}")
    with (
        closing(sqlite3.connect(address.file)) as present,
        closing(sqlite3.connect(backup)) as copy,
    ):
        present.backup(copy)
    engine = create_sqlalchemy_engine(address.uri)
    logging.disable(logging.INFO)  # older MLflow tells of each of its steps
    try:
        _upgrade_db(engine)
    finally:
        logging.disable(logging.NOTSET)
        engine.dispose()
    return backup
