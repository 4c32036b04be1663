"""Who computes, where, and for how long: devices, a clock, and threads of this process.

An engine is one way to compute. It gives a pool for a base model, which is given pieces of work.
The same function turns a piece into its result whatever the engine is, and so the results are the
same.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.memory import budget

Compute = Callable[[BaseModel, Any], Any]  # what becomes of a piece of work
Results = Iterator[tuple[Any, Any]]  # pieces of work with what became of them


class Clock:
    """Seconds by what was done, added up over threads. A copy in another process begins anew."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Clock], tuple[()]]:
        return Clock, ()

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

    def taken(self) -> dict[str, float]:
        """The seconds so far, which are not counted any longer."""
        with self._lock:
            seconds = dict(self._seconds)
            self._seconds.clear()
        return seconds

    def shares(self) -> dict[str, float]:
        """Each part of the time that was counted, summing to one, the largest first."""
        parts, whole = Counter(self._seconds).most_common(), sum(self._seconds.values())
        return {doing: seconds / whole for doing, seconds in parts}


class Stop(threading.Event):
    """Is set where work should stop. A copy in another process is its own, and never set."""

    def __reduce__(self) -> tuple[type[Stop], tuple[()]]:
        return Stop, ()


@dataclass(frozen=True)
class Pool:
    """Computes pieces of work, several at a time, each with a base model of its own.

    Attributes:
        count: how many pieces one machine computes at a time.
        map: gives each piece of work with its result, a little ahead of whoever takes them, of a
            function that turns base model and piece into the result, the pieces, and the clock by
            which that function counts.
    """

    count: int
    map: Callable[..., Results]


class Engine(Protocol):
    """One way to compute."""

    def count(self, base: BaseModel) -> int:
        """How many pieces one machine will compute at a time, for the device of that base model."""

    def room(self, base: BaseModel) -> float:
        """Bytes that the pieces which one machine computes at a time may take together."""

    def pool(
        self, base: BaseModel, stop: Stop, most: int | None = None
    ) -> AbstractContextManager[Pool]:
        """Who computes with a base model, as a context.

        Args:
            stop: is set where the context is left by an error; `compute` looks at it.
            most: pieces that one machine has room for at a time; as `count` says if None.
        """


@dataclass(frozen=True)
class Threads:
    """Threads of this process, with one torch thread each.

    Attributes:
        workers: how many; as the device has use for if None.
    """

    workers: int | None = None

    def count(self, base: BaseModel) -> int:
        """As many as were asked for; else one a core, or a single one for a GPU."""
        return self.workers or (cores() if base.device.type == "cpu" else 1)

    def room(self, base: BaseModel) -> float:
        """A share of what this machine, or its GPU, has free."""
        return budget(base.device)

    @contextmanager
    def pool(self, base: BaseModel, stop: Stop, most: int | None = None) -> Iterator[Pool]:
        """The threads, as a context; leaving it by an error asks the work in flight to stop."""
        count, torch_threads = min(self.count(base), most or sys.maxsize), torch.get_num_threads()
        # One torch thread each: the same bits come out of one worker and of many.
        executor = ThreadPoolExecutor(count, "worker", torch.set_num_threads, (1,))
        replicas: queue.SimpleQueue[BaseModel] = queue.SimpleQueue()
        for _ in range(count):
            replicas.put(base.replica())

        def computed(compute: Compute, piece: Any) -> Any:
            replica = replicas.get()
            try:
                return compute(replica, piece)
            finally:
                replicas.put(replica)

        def in_order(compute: Compute, work: Iterable[Any], _: Clock | None = None) -> Results:
            ahead: deque[tuple[Any, Future[Any]]] = deque()
            for piece in work:
                ahead.append((piece, executor.submit(computed, compute, piece)))
                if len(ahead) > count + 1:
                    first, result = ahead.popleft()
                    yield first, result.result()
            for first, result in ahead:
                yield first, result.result()

        try:
            yield Pool(count, in_order)
        except BaseException:
            stop.set()
            raise
        finally:
            executor.shutdown(cancel_futures=True)
            torch.set_num_threads(torch_threads)


THREADS = Threads()  # what computes where nothing else is said


def cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pick_device(name: str, on_ray: bool = False) -> torch.device:
    """The device of that name.

    `auto` is an NVIDIA GPU where there is one, or else the CPU: whoever wants Apple's GPU says so.

    Raises UserError for one that is not there, or that a slot of a Ray cluster does not have.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    counts = {"cpu": 1, "mps": int(torch.backends.mps.is_available()), "cuda": there}
    try:
        device = torch.device(("cuda" if there else "cpu") if name == "auto" else name)
        count = counts[device.type]
    except (RuntimeError, KeyError) as error:
        raise UserError(f"device is {name!r}: choose auto, cpu, cuda, cuda:1 or mps") from error
    if (device.index or 0) >= count:
        seen = f"{count}, from {device.type}:0 on" if count else "none: use --device cpu"
        raise UserError(f"device '{device}' is asked for, but torch sees {seen}")
    if on_ray and device.index:
        raise UserError(
            f"device is {name!r}: on a Ray cluster each slot has a GPU of its own, give 'cuda'"
        )
    return device
