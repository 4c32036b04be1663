"""What every command is given: where the store is, opened only when it is needed."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.statuses import MAX_LOSS
from tracker.cli._output import progress
from tracker.face.place import Place
from tracker.face.progress import Advance
from tracker.store.addresses import without_credentials
from tracker.sweep.planning import advised
from unlearning.errors import UserError
from unlearning.naming import LATEST, counted, shortest

STARTED = time.perf_counter()  # when the command line was imported
DEFAULT_FOLDER = "mlruns"  # of the store, in the working directory
FEW = 4  # algorithms that are named one by one
CLOCKS_APART = timedelta(minutes=1)  # of two machines, about which nothing is said
PORT = 5000  # where `indelible ui` serves, if nothing else is said

if TYPE_CHECKING:
    from analysis.answers import Answers
    from analysis.limits import Limits
    from analysis.warehouse import Warehouse


@dataclass(frozen=True)
class Session(Place):
    """The global options."""

    def say(self, line: str) -> None:
        """A remark, on stderr."""
        say(line)

    def progress(self, title: str, total: int, unit: str = "") -> AbstractContextManager[Advance]:
        """How far a piece of work is, on stderr."""
        return progress(title, total, unit)

    @property
    def command(self) -> str:
        """The words that begin a command on this store."""
        options = [] if self.folder == Path(DEFAULT_FOLDER) else ["--store", str(self.folder)]
        return shlex.join(["indelible", *options])

    @property
    def ui(self) -> str:
        """Where the MLflow UI is: a server that is the store itself, or `indelible ui`."""
        address = self.address
        return without_credentials(address.uri) if address.is_server else f"http://127.0.0.1:{PORT}"

    @contextmanager
    def warehouse(self, limits: Limits | None = None) -> Iterator[Warehouse]:
        """The warehouse, for reading; a remark where the store has changed since it was loaded.

        Raises UserError also where it is another store's.
        """
        from analysis.warehouse import open_warehouse
        from tracker.store.database import ends

        address = self.address
        with open_warehouse(self.warehouse_path, limits) as warehouse:
            if self.store_id and warehouse.store and warehouse.store != self.store_id:
                raise UserError(
                    f"the warehouse {self.warehouse_path} is another store's: 'indelible load' "
                    "puts this one's in its place"
                )
            if ends(address) not in (None, warehouse.ends):
                say("the store has changed since the warehouse was loaded: see 'indelible load'")
            yield warehouse

    def sweep_id(self, warehouse: Warehouse, reference: str) -> str:
        """The id of the sweep that is meant, which is said, and whether all of it is there.

        Raises UserError if there is none.
        """
        sweep_id = warehouse.sweep_id(reference)
        sweeps = warehouse.report("sweeps").records()
        short = shortest([row["sweep_id"] for row in sweeps])[sweep_id]
        row = next(row for row in sweeps if row["sweep_id"] == sweep_id)
        others = f", the latest of {len(sweeps)}" if reference == LATEST and len(sweeps) > 1 else ""
        say(f"sweep {row['name']} ({short}){others}: {_extent(row)}")
        if reference == LATEST and row["start_time"] is not None:
            say_if_ahead(f"sweep {row['name']}", row["start_time"].replace(tzinfo=UTC))
        if row["finished"] < row["planned"]:
            say(f"{row['finished']} of {row['planned']} planned attempts are finished")
        if (asked := advised(row["name"])) is not None:
            say(
                f"it is one of the sweeps in which 'indelible advise' tried algorithms on its "
                f"{counted(asked, 'sample')}, each with those that look best: the same advise "
                "shows all, and a sweep of one algorithm on the same samples ranks them"
            )
        return sweep_id

    def answers(self, sweep: str, max_loss: float = MAX_LOSS) -> Answers:
        """All that the warehouse says of a sweep.

        Args:
            max_loss: percentage points of test accuracy that a flip may cost.
        """
        from analysis.answers import ask

        with self.warehouse() as warehouse:
            return ask(warehouse, self.sweep_id(warehouse, sweep), max_loss)


def _extent(sweep: Mapping[str, Any]) -> str:
    """How much a sweep is about."""
    names, samples = (sweep["algorithms"] or "").split(","), sweep["samples"]
    said = ", ".join(names) if len(names) <= FEW else f"{len(names)} algorithms"
    return f"{said} on {samples} {'sample' if samples == 1 else 'samples'}"


def say_if_ahead(what: str, began: datetime) -> None:
    """Say of the latest run that it began later than now, so that newer ones come after it."""
    if began > datetime.now(UTC) + CLOCKS_APART:
        say(
            f"{what} began at {began:%Y-%m-%d %H:%M} UTC, which is still to come: the clock of the "
            "machine that made it was ahead, and until then it stays the latest"
        )


def say(line: str) -> None:
    """A remark, on stderr; on a terminal no line of it is broken within a word."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        line = "\n".join(
            textwrap.fill(part, width, break_long_words=False, break_on_hyphens=False)
            for part in line.splitlines()
        )
    click.echo(line, err=True)


pass_session = click.make_pass_decorator(Session)
