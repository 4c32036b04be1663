"""Where a store is, opened only when it is needed; what fails there becomes one line.

Long work shows how far it is: a bar on a terminal, elsewhere a plain line every few seconds.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tracker.commands.ask import PORT
from tracker.store.addresses import DATABASE, Address, without_credentials, without_password
from tracker.store.database import ends
from tracker.store.files import FOLDER
from tracker.store.identity import FILE, read_mark
from tracker.store.settings import given_back
from unlearning.errors import Failure, UserError
from unlearning.naming import LATEST, counted, shortest

if TYPE_CHECKING:
    from analysis.connecting import Limits
    from analysis.warehouse import Warehouse
    from tracker.api.bases import Bases
    from tracker.reading.loading import Loaded
    from tracker.store.read import Reader
    from tracker.store.write import Store

LIBRARIES = ("mlflow", "sqlalchemy", "sqlite3")
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
FEW = 4  # algorithms that are named one by one
DRIVER = re.compile(r"^\(?[\w.]+(Error|Exception)\)?:? ")  # begins what SQLAlchemy says
Advance = Callable[[int, str], None]  # told how much more is done, and what is being done
EVERY_S = 5.0  # between two lines that say how far a piece of work is


@dataclass(frozen=True)
class Place:
    """A store's folder and addresses.

    Attributes:
        verbose: whether what libraries raise is passed on as it is.
        server_timeout: seconds to wait for a store that does not answer.
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
        return progress(title, total, self.say, unit)

    @cached_property
    def bases(self) -> Bases:
        """The base models that were loaded or given here."""
        from tracker.api.bases import Bases  # which needs torch

        return Bases(self.data_dir, self.folder, self.say)

    @property
    def address(self) -> Address:
        """Of the store. Raises UserError where its URI is not understood."""
        return Address.of(self.folder, self.tracking_uri)

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file of this store."""
        return self.folder / "analysis.duckdb"

    @property
    def ui(self) -> str:
        """Where the MLflow UI is: a server that is the store itself, or `indelible ui`."""
        address = self.address
        return without_credentials(address.uri) if address.is_server else f"http://127.0.0.1:{PORT}"

    def owns(self, path: Path) -> bool:
        """Whether a path is, or is in, what the store is made of, perhaps by a link."""
        real, folder = os.path.realpath(path), os.path.realpath(self.folder)
        parts = (self.folder / FILE, self.folder / FOLDER, self.warehouse_path)
        own = tuple(f"{os.path.realpath(part)}/" for part in parts)
        database = os.path.realpath(self.address.file or DATABASE)
        return real.startswith((database, f"{folder}/{DATABASE}")) or f"{real}/".startswith(own)

    @contextmanager
    def store(self, begins: bool = False) -> Iterator[Store]:
        """The MLflow store, to write into.

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
        except Exception as error:  # what is of neither library is raised as it is
            if isinstance(error, ValueError) and "MLFLOW_" in str(error):
                raise UserError(str(error)) from error  # MLflow's, of its environment variables
            if self.verbose or type(error).__module__.partition(".")[0] not in LIBRARIES:
                raise
            said = DRIVER.sub("", without_password(str(error)).strip().partition("\n")[0])
            raise Failure(f"the MLflow store {self.address.shown} failed: {said}") from error

    @property
    def store_id(self) -> str | None:
        """The id that the folder has as a store's, if it has one."""
        mark = read_mark(self.folder)
        return mark.store if mark else None

    @contextmanager
    def warehouse(self, limits: Limits | None = None) -> Iterator[Warehouse]:
        """The warehouse, to ask; what is new in the store is loaded first.

        It is taken as it is where there is no store beside it, and, which is said, where the folder
        can only be read or the store does not answer. Raises UserError where it is another store's.
        """
        file, path = self.address.file, self.warehouse_path
        is_alone = file is not None and not file.exists() and path.exists()
        if not (is_alone or self._is_current()):
            if path.exists() and not os.access(self.folder, os.W_OK):
                self.say(f"{self.folder} can only be read: new runs are not read")
            else:
                try:
                    self.load()
                except Failure as error:
                    if not path.exists():
                        raise
                    self.say(f"{error}: new runs are not read")
        with self._opened(limits) as warehouse:
            if self.store_id and warehouse.store not in (None, self.store_id):
                raise UserError(f"the warehouse {path} is another store's: delete it")
            yield warehouse

    def _opened(self, limits: Limits | None = None) -> AbstractContextManager[Warehouse]:
        from analysis.warehouse import open_warehouse

        return open_warehouse(self.warehouse_path, limits)

    def _is_current(self) -> bool:
        """Whether the warehouse has what the store has; of a server that is not known."""
        with suppress(UserError), self._opened() as warehouse:
            is_its = self.store_id in (None, warehouse.store)
            return is_its and warehouse.is_current and ends(self.address) == warehouse.ends
        return False

    def load(self, deep: bool = False) -> Loaded:
        """Bring the warehouse up to date, and say which runs have lost a file."""
        from tracker.reading import loading

        with self.reader() as reader:
            self.folder.mkdir(parents=True, exist_ok=True)  # of a store that is elsewhere
            loaded = loading.load(reader, self.warehouse_path, deep, self.store_id)
        for line in loaded.lost.values():
            self.say(line)
        return loaded

    def sweep_id(self, warehouse: Warehouse, reference: str) -> str:
        """The id of the sweep that is meant, which is said, and whether all of it is there.

        Raises UserError if there is none.
        """
        sweep_id = warehouse.sweep_id(reference)
        sweeps = {row["sweep_id"]: row for row in warehouse.report("sweeps").records()}
        row, short = sweeps[sweep_id], shortest(sweeps)[sweep_id]
        names, samples = (row["algorithms"] or "").split(","), counted(row["samples"], "sample")
        tried = ", ".join(names) if len(names) <= FEW else f"{len(names)} algorithms"
        many = sum(row["study"] is None for row in sweeps.values())
        others = f", the latest of {many}" if reference == LATEST and many > 1 else ""
        self.say(f"sweep {row['name']} ({short}){others}: {tried} on {samples}")
        if row["finished"] < row["planned"]:
            self.say(f"{row['finished']} of {row['planned']} planned attempts are finished")
        return sweep_id


@contextmanager
def progress(
    title: str, total: int, say: Callable[[str], None], unit: str = ""
) -> Iterator[Advance]:
    """How far a piece of work is; the function moves it on and says what is done.

    Args:
        say: writes a line where no bar can be drawn.
        unit: what is counted, where a line has to say it.
    """
    console = Console(file=sys.stderr)
    if console.is_interactive and not console.no_color:
        columns = (
            TextColumn("{task.description:<22}", markup=False),
            *(BarColumn(bar_width=None), MofNCompleteColumn()),
            *(TimeRemainingColumn(compact=True), TextColumn("left")),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(title, total=total)

            def draw(count: int, doing: str) -> None:
                bar.update(task, advance=count, description=f"{title} {doing}")

            yield draw
        return
    done, told, began, said_at, last = 0, -1, monotonic(), monotonic(), ""

    def tell() -> None:
        nonlocal told, said_at
        told, said_at, parts = done, monotonic(), [f"{unit}{done} of {total}", last]
        if 0 < done < total:
            left = (said_at - began) / done * (total - done)
            parts.append(f"{timedelta(seconds=round(left))} left")
        say(f"{title}: {', '.join(filter(None, parts))}")

    def advance(count: int, doing: str) -> None:
        nonlocal done, last
        done, last = min(done + count, total), doing
        if count and (monotonic() - said_at >= EVERY_S or done == total):
            tell()

    yield advance
    if told != done:
        tell()
