"""What every command is given: the global options, and how it speaks."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tracker.api import progress as bars
from tracker.api.place import Place
from tracker.cli._output import escaped
from tracker.cli._output import say as say
from tracker.store.addresses import without_password

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
        """The words that begin a command on this store; what the environment says is left out."""
        uri, known = self.tracking_uri or "", os.environ.get("MLFLOW_TRACKING_URI", "")
        options = {
            "--store": (str(self.folder), DEFAULT_FOLDER),
            "--tracking-uri": (without_password(uri), without_password(known)),
            "--data-dir": (str(self.data_dir), os.environ.get("INDELIBLE_DATA_DIR", "data")),
        }
        words = [w for name, (own, usual) in options.items() if own != usual for w in (name, own)]
        return shlex.join(["indelible", *words])

    def line(self, *words: object) -> str:
        """A command on this store, to be pasted as it is."""
        return f"{self.command} {shlex.join(map(str, words))}"
