"""What every command is given: the global options, and how it speaks."""

from __future__ import annotations

import shlex
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tracker.api import progress as bars
from tracker.api.place import Place
from tracker.cli._output import escaped
from tracker.cli._output import say as say

STARTED = time.perf_counter()  # when the command line was imported
DEFAULT_FOLDER = "mlruns"  # of the store, in the working directory


@dataclass(frozen=True)
class Session(Place):
    """The global options."""

    def say(self, line: str) -> None:
        """A remark, on stderr."""
        say(line)

    def progress(
        self, title: str, total: int, unit: str = ""
    ) -> AbstractContextManager[bars.Advance]:
        """How far a piece of work is, on stderr."""
        return bars.progress(escaped(title), total, say=say, unit=unit)

    @property
    def command(self) -> str:
        """The words that begin a command on this store."""
        options = [] if self.folder == Path(DEFAULT_FOLDER) else ["--store", str(self.folder)]
        return shlex.join(["indelible", *options])
