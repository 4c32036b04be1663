"""Threads that compute, each with a twin of the base model and one torch thread."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from unlearning.base_model import BaseModel

Work = TypeVar("Work")
Result = TypeVar("Result")


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


def how_many(base: BaseModel, count: int | None) -> int:
    """Workers: as many as asked for; one a core if None, and a single one for a GPU."""
    return count or (_cores() if base.device.type == "cpu" else 1)


def _cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
