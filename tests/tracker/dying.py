"""Commands that kill their own process: inside the store's transaction, between the artifacts and
the transaction, within an artifact, or after some seconds, at the N-th chance.

The processes are forked from one that has imported everything, which takes longer than most of
them live.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

import tracker.base.training
import tracker.reading.checking
import tracker.sweeping.predicting
import tracker.sweeping.sweep  # noqa: F401 - with the others, what commands import on their way
from tracker.access.artifacts import Artifacts
from tracker.cli import run
from tracker.record import bulk

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Dying:
    """A command in a process that may kill itself."""

    process: ForkServerProcess
    log: Path

    def ended(self, within_s: float = 120) -> tuple[int | None, str]:
        """How it ended, as subprocess says it, and what it said on stderr."""
        self.process.join(within_s)
        return self.process.exitcode, self.log.read_text("utf-8")


def started(folder: Path, moment: str, chance: float, arguments: Sequence[str]) -> Dying:
    """A command on a store, in a process that kills itself at a moment."""
    log = folder.with_name(f"{folder.name}-{os.urandom(4).hex()}.log")
    words = ["--store", str(folder), *arguments]
    process = FORKS.Process(target=_die, args=(moment, chance, words, log))
    process.start()
    return Dying(process, log)


def _die(moment: str, chance: float, arguments: list[str], log: Path) -> None:
    for stream, path in ((0, os.devnull), (1, os.devnull), (2, str(log))):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, stream)
        os.close(opened)
    _prepare(moment, chance)
    raise SystemExit(run(arguments))


def _prepare(moment: str, chance: float) -> None:
    """Change what this process calls, so that it dies."""
    store: Any = bulk.SqlStore
    if moment == "transaction":  # after some tables, before the commit
        _change(bulk, "insert", _At(chance, before=True))
    elif moment == "commit":  # all artifacts of a chunk are there, no row is
        _change(store, "_settled", _At(chance, before=True))
    elif moment == "artifact":  # some artifacts of a chunk are there
        _change(Artifacts, "write", _At(chance, before=False))
    elif moment == "draft":  # in the middle of an artifact
        _change(os, "fsync", _At(chance, before=True))
    elif moment == "disk":  # whatever is put in its place, and whatever is committed
        _change(pathlib.Path, "replace", _At(chance, before=chance % 2 == 0))
        _change(shutil, "move", _At(chance, before=False))
        _change(Session, "commit", _At(chance, before=False))
    else:
        threading.Timer(chance, _kill).start()


@dataclass
class _At:
    """The N-th call, before or after it is done; calls of all that is changed count."""

    chance: float
    before: bool

    def wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            global calls
            calls += 1
            at = calls == self.chance
            if at and self.before:
                _kill()
            result = real(*given, **named)
            if at:
                _kill()
            return result

        return call


calls = 0


def _change(owner: Any, name: str, at: _At) -> None:
    setattr(owner, name, at.wrapped(getattr(owner, name)))


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
