"""How long a query may run, and how much memory DuckDB may take for it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import TIMEOUT_MAX

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Limits:
    """The limits of one query.

    Attributes:
        seconds: of DuckDB's work; what is done with its rows does not count.
        memory: bytes that DuckDB may take; None: no limit.
    """

    seconds: float = TIMEOUT_MAX
    memory: int | None = None


def machine_memory() -> int:
    """The memory of this machine, or of the container, in bytes."""
    known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in CGROUPS:
        with suppress(OSError, ValueError):  # not there, or "max"
            known.append(int(Path(file).read_text("ascii")))
    return min(known)
