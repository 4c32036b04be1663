"""Commands that kill their own process: inside the store's transaction, between the artifacts and
the transaction, within an artifact, or while models are trained, at the N-th chance.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from tests.forked import process
from tracker.base import parts
from tracker.base.references import Making
from tracker.cli import run
from tracker.store import bulk
from tracker.store.files import Artifacts
from tracker.sweep import chunks


@dataclass(frozen=True)
class Dying:
    """A command in a process that may kill itself."""

    process: ForkServerProcess
    log: Path

    def ended(self, within_s: float = 120) -> tuple[int, str]:
        """How it ended, as subprocess says it, and what it said on stderr; it may not hang."""
        self.process.join(within_s)
        assert self.process.exitcode is not None, f"it hangs: {self.log.read_text('utf-8')}"
        return self.process.exitcode, self.log.read_text("utf-8")


def started(folder: Path, moment: str, chance: float, arguments: Sequence[str]) -> Dying:
    """A command on a store, in a process that kills itself at a moment."""
    log = folder.with_name(f"{folder.name}-{os.urandom(4).hex()}.log")
    words = ["--store", str(folder), *arguments]
    return Dying(process(_die, moment, chance, words, log), log)


def _die(moment: str, chance: float, arguments: list[str], log: Path) -> None:
    parts.SAVED_EVERY = 0  # as if each part had taken long
    for owner, name, before in MOMENTS[moment]:
        _dies(owner, name, chance, chance % 2 == 0 if before is None else before)
    run_quietly(arguments, log)


def run_quietly(arguments: list[str], log: Path) -> None:
    """Run a command in this process and end it; what it says on stderr is in the log."""
    for stream, path in ((0, os.devnull), (1, os.devnull), (2, str(log))):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, stream)
        os.close(opened)
    raise SystemExit(run(arguments))


# What is called at a moment, and whether the process dies before it is done; None: every other.
MOMENTS: dict[str, list[tuple[Any, str, bool | None]]] = {
    "transaction": [(bulk, "insert", True)],  # after some tables, before the commit
    "commit": [(bulk.SqlStore, "_transaction", True)],  # all artifacts of a chunk are there, no row
    "artifact": [(Artifacts, "write", False)],  # some artifacts of a chunk are there
    "draft": [(os, "fsync", True)],  # in the middle of an artifact
    "chunk": [(chunks, "unlearn", True)],  # of a sweep
    "model": [(Making, "model", None)],  # a reference model
    "disk": [  # whatever is put in its place, and whatever is committed
        (pathlib.Path, "replace", None),
        (shutil, "move", False),
        (Session, "commit", False),
    ],
}
calls = 0  # of all that was changed, together


def _dies(owner: Any, name: str, chance: float, before: bool) -> None:
    """Have the N-th call end the process, before or after it is done."""
    real = getattr(owner, name)

    def call(*given: Any, **named: Any) -> Any:
        global calls
        calls += 1
        at = calls == chance
        if at and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*given, **named)
        if at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, call)
