"""Commands in processes of their own that write down which members they compute."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.forked import process
from tests.tracker.dying import Dying, run_quietly
from tracker.sweep import chunks


def started(name: str, journal: Path, arguments: Sequence[object]) -> Dying:
    """A command in a process, which adds a line to the journal for each chunk that it computes."""
    log = journal.with_name(f"{name}.log")
    words = [str(word) for word in arguments]
    return Dying(process(_count, name, journal, words, log), log)


def _count(name: str, journal: Path, arguments: list[str], log: Path) -> None:
    module: Any = chunks
    real = module.unlearn

    def unlearn(base: Any, algorithm: Any, positions: Any, *rest: Any) -> Any:
        line = json.dumps([name, [f"{algorithm.name} {p}" for p in positions.tolist()]])
        handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{line}\n".encode())
        os.close(handle)
        return real(base, algorithm, positions, *rest)

    module.unlearn = unlearn
    run_quietly(arguments, log)


def computed(journal: Path) -> dict[str, Counter[str]]:
    """How often each process computed each member."""
    found: dict[str, Counter[str]] = {}
    with suppress(FileNotFoundError):
        for line in journal.read_text("utf-8").splitlines():
            name, members = json.loads(line)
            found.setdefault(name, Counter()).update(members)
    return found


def wait_for(journal: Path, name: str, members: int, within_s: float = 300) -> None:
    """Until a process has begun that many members."""
    until = time.monotonic() + within_s
    while computed(journal).get(name, Counter()).total() < members:
        assert time.monotonic() < until, f"{name} does nothing"
        time.sleep(0.05)
