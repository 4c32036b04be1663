"""Which kind of store a tracking URI names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlflow import __version__ as mlflow_version

from indelible.tracker.store import Store, is_database


def open_store(
    folder: Path, tracking_uri: str | None = None, say: Callable[[str], None] = lambda remark: None
) -> Store:
    """The store of a tracking URI: written in bulk if it is a database of a known schema.

    Args and errors as of Store; `say` is told why a database is not written in bulk.
    """
    if tracking_uri is None or is_database(tracking_uri):
        from indelible.tracker.bulk import SqlStore, untested_schema

        difference = untested_schema()
        if difference is None:
            return SqlStore(folder, tracking_uri)
        say(
            f"MLflow {mlflow_version} has a schema that the bulk writer was not tested with "
            f"({difference}): MLflow's client is used, which is slower"
        )
    return Store(folder, tracking_uri)
