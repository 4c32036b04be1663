"""Where a store is, opened only when it is needed; what fails there becomes one line."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.face.progress import Advance
from tracker.store.addresses import DATABASE
from tracker.store.settings import given_back
from unlearning.errors import Failure, UserError

if TYPE_CHECKING:
    from tracker.face.bases import Bases
    from tracker.store.addresses import Address
    from tracker.store.readers import Reader
    from tracker.store.store import Store

LIBRARIES = ("mlflow", "sqlalchemy", "sqlite3")
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
DRIVER = re.compile(r"^\(?[\w.]+(Error|Exception)\)?:? ")  # begins what SQLAlchemy says


@dataclass(frozen=True)
class Place:
    """A store's folder and addresses.

    Attributes:
        verbose: whether what libraries raise is passed on as it is.
        server_timeout: seconds that a store which does not answer is waited for.
    """

    folder: Path
    tracking_uri: str | None
    data_dir: Path
    verbose: bool
    server_timeout: float

    def say(self, line: str) -> None:
        """A remark for the user."""
        raise NotImplementedError

    def progress(self, title: str, total: int, unit: str = "") -> AbstractContextManager[Advance]:
        """How far a piece of work is; the function moves it on and says what is done."""
        raise NotImplementedError

    @cached_property
    def bases(self) -> Bases:
        """The base models that were loaded or given here."""
        from tracker.face.bases import Bases  # which needs torch

        return Bases(self.data_dir, self.folder, self.say)

    @property
    def address(self) -> Address:
        """Of the store. Raises UserError where its URI is not understood."""
        from tracker.store.addresses import Address

        return Address.of(self.folder, self.tracking_uri)

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file of this store."""
        return self.folder / "analysis.duckdb"

    def owns(self, path: Path) -> bool:
        """Whether a path is, or is in, what the store is made of, perhaps by a link."""
        from tracker.store.artifacts import FOLDER
        from tracker.store.identity import FILE

        folder, database = map(os.path.realpath, (self.folder, self.address.file or DATABASE))
        parts = (self.folder / FILE, self.folder / FOLDER, self.warehouse_path)
        real, own = os.path.realpath(path), tuple(f"{os.path.realpath(part)}/" for part in parts)
        return real.startswith((database, f"{folder}/{DATABASE}")) or f"{real}/".startswith(own)

    @contextmanager
    def store(self, begins: bool = False) -> Iterator[Store]:
        """The MLflow store, to write into; what MLflow itself raises becomes one line.

        Args:
            begins: whether a store may come into being by it.
        """
        from tracker.store.opening import open_store

        with self.failing():
            where = (self.folder, self.tracking_uri, self.say, self.server_timeout)
            yield open_store(*where, begins)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """The store, to read from, without MLflow where that can be."""
        from tracker.store.opening import open_reader

        with self.failing():
            yield open_reader(self.folder, self.tracking_uri, self.say, self.server_timeout)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Turn what a database or MLflow raises, and a full disk, into one line for the user."""
        try:
            with given_back():
                yield
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            where = error.filename or self.folder
            raise Failure(f"{where} cannot be written: {error.strerror}") from error
        except Exception as error:
            if isinstance(error, ValueError) and "MLFLOW_" in str(error):
                raise UserError(str(error)) from error  # MLflow's, of its environment variables
            is_of_one = type(error).__module__.partition(".")[0] in LIBRARIES
            if self.verbose or not is_of_one:
                raise
            said = self.address.hidden(str(error)).strip().partition("\n")[0]
            raise Failure(
                f"the MLflow store {self.address.shown} failed: {DRIVER.sub('', said)}"
            ) from error

    @property
    def store_id(self) -> str | None:
        """The id that the folder has as a store's, if it has one."""
        from tracker.store.identity import read_mark

        mark = read_mark(self.folder)
        return mark.store if mark else None
