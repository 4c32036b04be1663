"""Threads that compute, each with a twin of the base model, and a clock of what they do."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from unlearning.base_model import BaseModel

Work = TypeVar("Work")
Result = TypeVar("Result")
Item = TypeVar("Item")


class Workers:
    """A pool of threads, as a context; leaving it by an error asks the work in flight to stop.

    One torch thread each, however many workers there are: the same bits come out of one worker
    and of many.

    Args:
        count: of threads; one a core if None, and a single one for a GPU.
        stop: is set where the work should stop; who computes looks at it.
    """

    def __init__(self, base: BaseModel, count: int | None, stop: threading.Event) -> None:
        self.count = how_many(base, count)
        self.stop = stop
        self.twins: queue.SimpleQueue[BaseModel] = queue.SimpleQueue()
        for _ in range(self.count):
            self.twins.put(base.twin())

    def __enter__(self) -> Workers:
        self.torch_threads = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(
            self.count, "worker", initializer=torch.set_num_threads, initargs=(1,)
        )
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            self.stop.set()
        self.pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(self.torch_threads)

    def map(
        self, compute: Callable[[BaseModel, Work], Result], work: Iterable[Work]
    ) -> Iterator[tuple[Work, Result]]:
        """Each piece of work with its result, in order, a little ahead of whoever takes them."""
        ahead: deque[tuple[Work, Future[Result]]] = deque()
        for piece in work:
            ahead.append((piece, self.pool.submit(self._with_twin, compute, piece)))
            if len(ahead) > self.count + 1:
                first, result = ahead.popleft()
                yield first, result.result()
        for first, result in ahead:
            yield first, result.result()

    def _with_twin(self, compute: Callable[[BaseModel, Work], Result], piece: Work) -> Result:
        twin = self.twins.get()
        try:
            return compute(twin, piece)
        finally:
            self.twins.put(twin)


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


def in_blocks(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of that size, the last of which may be shorter."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def how_many(base: BaseModel, count: int | None) -> int:
    """Workers: as many as asked for; one a core if None, and a single one for a GPU."""
    return count or (_cores() if base.device.type == "cpu" else 1)


def _cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
