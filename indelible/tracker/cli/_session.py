"""What every command is given: where the store is, opened only when it is needed."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import click

from indelible.errors import Failure

STARTED = time.perf_counter()  # when the command line was imported
PORT = 5000  # where `indelible ui` serves, if nothing else is said

if TYPE_CHECKING:
    from indelible.analysis.answers import Answers
    from indelible.analysis.limits import Limits
    from indelible.analysis.warehouse import Warehouse
    from indelible.tracker.sources import Source
    from indelible.tracker.store import Store


@dataclass(frozen=True)
class Session:
    """The global options."""

    folder: Path
    tracking_uri: str | None
    data_dir: Path
    verbose: bool

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file of this store."""
        return self.folder / "analysis.duckdb"

    @property
    def is_new(self) -> bool:
        """Whether the embedded store has yet to be made."""
        return self.tracking_uri is None and not (self.folder / "mlflow.db").exists()

    @property
    def ui(self) -> str:
        """Where the MLflow UI is: a server that is the store itself, or `indelible ui`."""
        if not (self.tracking_uri or "").startswith("http"):
            return f"http://127.0.0.1:{PORT}"
        parts = urlsplit((self.tracking_uri or "").rstrip("/"))
        # It is shown to others: a name and a password stay out of it.
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The MLflow store; what MLflow itself raises becomes one line."""
        if self.is_new:
            click.echo(f"setting up a store in {self.folder} ...", err=True)
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        from indelible.tracker.opening import open_store

        try:
            yield open_store(
                self.folder, self.tracking_uri, lambda said: click.echo(said, err=True)
            )
        except (MlflowException, SQLAlchemyError) as error:
            if self.verbose:
                raise
            raise Failure(f"the MLflow store failed: {str(error).splitlines()[0]}") from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise Failure(f"the disk is full at {error.filename or self.folder}") from error

    @contextmanager
    def source(self) -> Iterator[Source]:
        """The store for reading all of it, without MLflow where that can be."""
        from adbc_driver_manager import Error

        from indelible.tracker.sources import ClientSource, DatabaseSource, driver_for

        uri = self.tracking_uri or f"sqlite:///{(self.folder / 'mlflow.db').absolute()}"
        if self.is_new or driver_for(uri) is None:
            with self.store() as store:
                yield ClientSource(store)
            return
        try:
            yield DatabaseSource(uri)
        except Error as error:
            raise Failure(f"the MLflow store {uri} cannot be read: {error}") from error

    @contextmanager
    def warehouse(self, limits: Limits | None = None) -> Iterator[Warehouse]:
        """The warehouse, for reading."""
        from indelible.analysis.warehouse import open_warehouse

        with open_warehouse(self.warehouse_path, limits) as warehouse:
            yield warehouse

    def answers(self, sweep: str) -> Answers:
        """All that the warehouse says of a sweep."""
        from indelible.analysis.answers import ask

        with self.warehouse() as warehouse:
            return ask(warehouse, warehouse.sweep_id(sweep))


pass_session = click.make_pass_decorator(Session)
