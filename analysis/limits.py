"""How long a query may run, and how much memory it may use.

DuckDB counts most of its own memory and checks for interruption between blocks of rows, but a
single huge value escapes both. So the work is done in a thread that can be abandoned, and the
memory of the process is watched. DuckDB itself stops at three quarters of the limit, with a proper
error; at seven eighths the query is interrupted. The last eighth is a reserve, since DuckDB may
crash where the system refuses it memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import ParamSpec, TypeVar

from unlearning.errors import Abandoned, Failure

Given = ParamSpec("Given")
Result = TypeVar("Result")

PULSE = 0.02  # seconds between two looks at the limits
GRACE = 1.0  # seconds that work which was interrupted may take to end
SHORT_GRACE = 0.1  # the same where memory goes on growing
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Limits:
    """The limits of one query; None: no limit.

    Attributes:
        seconds: from its start to its last row.
        memory: bytes, beyond what the process has already.
        clock: the seconds that count; it may stand still while somebody reads the rows.
    """

    seconds: float | None = None
    memory: int | None = None
    clock: Callable[[], float] = monotonic

    @property
    def duckdb_memory(self) -> int | None:
        """The memory limit that DuckDB is given, in bytes."""
        return None if self.memory is None else self.memory * 3 // 4

    @property
    def too_long(self) -> str:
        """The message for a query that takes too long."""
        return f"the query took longer than {self.seconds:g} s"

    @property
    def too_large(self) -> str:
        """The message for a query that needs too much memory."""
        most = "there is" if self.memory is None else f"{self.memory / 1e9:.3g} GB"
        return f"the query needs more memory than {most}"


def machine_memory() -> int:
    """The memory of this machine, or of the container, in bytes."""
    known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in CGROUPS:
        with suppress(OSError, ValueError):  # not there, or "max"
            known.append(int(Path(file).read_text("ascii")))
    return min(known)


@contextmanager
def memory_limit(memory: int | None) -> Iterator[Callable[[], bool]]:
    """Let the process allocate that many bytes more than now; beyond them MemoryError is raised.

    Gives a function that says whether they are nearly used up. Nothing is limited on systems other
    than Linux, where this cannot be measured.
    """
    taken = _data_bytes()
    if memory is None or taken is None:
        yield lambda: False
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    known = [limit for limit in before if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([taken + memory, *known]), before[1]))
    try:
        yield lambda: (_data_bytes() or 0) > taken + memory * 7 // 8
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int | None:
    """The bytes of this process that Linux counts towards RLIMIT_DATA; None elsewhere."""
    with suppress(OSError):
        pages = Path("/proc/self/statm").read_text("ascii").split()[5]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    return None


class Errands:
    """A thread that does one piece of work after the other, within limits.

    What is still running at the end of the `with` is stopped.

    Args:
        interrupt: asks the work to stop.
        close: ends what it works with.
        is_large: says whether the memory is nearly used up.
    """

    def __init__(
        self,
        interrupt: Callable[[], None],
        close: Callable[[], None],
        limits: Limits,
        is_large: Callable[[], bool],
    ) -> None:
        self._interrupt, self._close = interrupt, close
        self._limits, self._is_large = limits, is_large
        self._began = limits.clock()
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Errands:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is Abandoned:
            return
        self._interrupt()
        if not _has_ended(self._thread.submit(self._close), GRACE):
            raise Abandoned("the query cannot be stopped")
        self._thread.shutdown()

    def do(
        self, work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs
    ) -> Result:
        """The result of a piece of work.

        Raises Failure if a limit is reached, Abandoned if the work cannot even be stopped.
        """
        if self._is_late():
            raise Failure(self._limits.too_long)
        future = self._thread.submit(work, *given, **named)
        try:
            while not wait([future], PULSE).done:
                self._look(future)
        except KeyboardInterrupt:
            if not self._has_stopped(future):
                raise Abandoned("stopped") from None
            raise
        return future.result()

    def _look(self, future: Future[Result]) -> None:
        """Stop the work and raise if it has reached a limit."""
        if self._is_large():
            stopped = self._has_stopped(future, SHORT_GRACE)
            raise (Failure if stopped else Abandoned)(self._limits.too_large)
        if self._is_late():
            raise (Failure if self._has_stopped(future) else Abandoned)(self._limits.too_long)

    def _is_late(self) -> bool:
        seconds = self._limits.seconds
        return seconds is not None and self._limits.clock() - self._began > seconds

    def _has_stopped(self, future: Future[Result], grace: float = GRACE) -> bool:
        self._interrupt()
        return _has_ended(future, grace)


def _has_ended(future: Future[Result], grace: float) -> bool:
    """Whether the work ends within the given seconds."""
    with suppress(KeyboardInterrupt):  # pressed twice: do not even wait
        wait([future], grace)
    return future.done()
