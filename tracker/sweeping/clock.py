"""Where the time of a sweep went."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds by what was done, added up over threads."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def of(self, doing: str) -> Iterator[None]:
        """Count the time in this context."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(doing, time.perf_counter() - started)

    def add(self, doing: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        with self._lock:
            self._seconds[doing] += seconds

    def shares(self) -> dict[str, float]:
        """Each part of the time that was counted, summing to one, the largest first."""
        whole = sum(self._seconds.values())
        parts = sorted(self._seconds.items(), key=lambda item: -item[1])
        return {doing: seconds / whole for doing, seconds in parts}
