"""A Ray cluster computes: one actor a CPU, or a GPU where the base model is on one.

Only this process writes into the store. An actor is given two pieces of work at a time, and gives
results back. Where an actor or its node dies, its pieces are given to others, and an actor is begun
in its place as soon as there is room; nodes may join and leave. Results count by their keys, so
that it does no harm if one was computed twice.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from tracker.base.actors import BASE, Actor, Home
from tracker.base.parcels import packed
from tracker.base.workers import Clock, Stop
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.errors import Failure, UserError
from unlearning.memory import CPU_SHARE, budget

Work = TypeVar("Work")
Result = TypeVar("Result")

IN_FLIGHT = 2  # pieces that an actor has at a time: one is computed, one waits
TRIES = 3  # times that a piece may end the process that computes it
LOOK_S = 2.0  # between two looks at what the cluster has
SLOW_S = 20.0  # without any actor, before that is said
LONGEST = 300  # characters of what Ray says
STARTS = 6  # actors in a row that may die before they are ready

# A local cluster has no web page and no reports to Ray's makers, and each message comes once.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


class RayEngine:
    """A cluster that this process is connected to, as a context.

    Args:
        address: of the cluster, if this process is not connected to one; `local` begins one on
            this machine, None takes RAY_ADDRESS or one that runs here, or else begins one.
        slots: actors at most. say: is told, a line each, how many there are.

    Raises UserError where Ray is not installed or is of another version than the cluster's, Failure
    where the cluster does not answer.
    """

    def __init__(
        self,
        address: str | None = None,
        slots: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.slots, self.say = slots, say
        self.ray = _ray()
        self.is_ours = not self.ray.is_initialized()
        if self.is_ours:
            _connect(self.ray, address)
        self._crew: _Crew | None = None

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: TracebackType | object) -> None:
        self._dismiss()
        if self.is_ours:
            self.ray.shutdown()

    def count(self, base: BaseModel) -> int:
        """The most slots that one node has, one at least: they share its memory."""
        resource = _resource(base)
        nodes = (node["Resources"] for node in self.ray.nodes() if node["Alive"])
        most = max((int(has.get(resource, 0)) for has in nodes), default=0)
        return max(1, min(most, self.slots or most))

    def room(self, base: BaseModel) -> float:
        """A share of what Ray says that the smallest node has, or of a GPU like that of here."""
        nodes = (node["Resources"] for node in self.ray.nodes() if node["Alive"])
        sizes = [has["memory"] for has in nodes if has.get(_resource(base)) and "memory" in has]
        if base.device.type == "cuda" or not sizes:
            return budget(base.device)
        return CPU_SHARE * float(min(sizes))

    @contextmanager
    def pool(self, base: BaseModel, stop: Stop, most: int | None = None) -> Iterator[_Crew]:
        """Actors that have this base model; they stay for the next pool of the same one.

        Where a node has room for fewer than it has CPUs, an actor takes several of these.
        """
        count, resource = self.count(base), _resource(base)
        nodes = (node["Resources"] for node in self.ray.nodes() if node["Alive"])
        fewest = min((int(has[resource]) for has in nodes if has.get(resource, 0) >= 1), default=1)
        # Each node has room for one actor at least, or nobody would compute where others died.
        each = 1 if most is None or resource == "GPU" else min(-(-count // most), fewest)
        if self._crew is None or self._crew.base is not base or self._crew.each != each:
            self._dismiss()
            self._crew = _Crew(self.ray, base, max(1, count // each), self.slots, self.say, each)
        try:
            yield self._crew
        except BaseException:
            stop.set()
            self._dismiss()  # what they compute is for nobody
            raise

    def _dismiss(self) -> None:
        if self._crew is not None:
            self._crew.dismiss()
            self._crew = None


@dataclass
class _Given:
    """A piece of work that an actor has."""

    piece: Any
    tries: int
    result: Any  # the reference


@dataclass(eq=False)
class _Hand:
    """An actor: the reference to its beginning until it is ready, and what it was given."""

    actor: Any
    beginning: Any
    given: deque[_Given] = field(default_factory=deque)

    def takes(self, tries: int) -> bool:
        """Whether it takes a piece. One that ended a process is alone with its next."""
        if self.beginning is not None:
            return False
        return not self.given if tries else len(self.given) < IN_FLIGHT and not self.is_suspected

    @property
    def is_suspected(self) -> bool:
        """Whether it has a piece that ended a process."""
        return any(given.tries for given in self.given)


@dataclass(eq=False)
class _Crew:
    """The actors that have one base model: a Pool.

    Attributes:
        count: of pieces that one node computes at a time. slots: actors at most.
        each: how many CPUs or GPUs an actor takes.
    """

    ray: Any
    base: BaseModel
    count: int
    slots: int | None
    say: Callable[[str], None]
    each: int = 1

    def __post_init__(self) -> None:
        self.hands: list[_Hand] = []
        self.looked = self.grew = 0.0
        self.deaths = 0  # in a row, of actors that were never ready
        self.told = ""
        self.nodes: dict[_Hand, str] = {}
        self.head = getattr(self.ray.get_runtime_context(), "gcs_address", "auto")
        pickler = importlib.import_module("ray.cloudpickle").Pickler
        parcel = packed(self.base, pickler, {}, self.base.state.values())
        self.home, self.parcel, self.pickler = Home.here(), self.ray.put(parcel), pickler
        resource = _resource(self.base)
        each = self.each
        needs = {"num_gpus": each, "num_cpus": 0} if resource == "GPU" else {"num_cpus": each}
        self.kind = self.ray.remote(max_restarts=0, max_task_retries=0, **needs)(Actor)

    def map(
        self,
        compute: Callable[[BaseModel, Work], Result],
        work: Iterable[Work],
        clock: Clock | None = None,
    ) -> Iterator[tuple[Work, Result]]:
        """As of a Pool, in the order in which results come.

        Raises Failure at the end where pieces ended the processes that computed them.
        """
        counted = Clock() if clock is None else clock
        parcel = packed((compute, counted), self.pickler, {id(self.base): BASE})
        job, todo = self.ray.put((Home.here(), parcel)), _Todo(iter(work))
        self.grew = time.monotonic()
        while todo.any or self._busy:
            self._look()
            self._hand_out(job, todo)
            for hand in self._ready():
                if hand.beginning is not None:
                    self._begun(hand)
                    continue
                for piece, (result, seconds) in self._taken(hand, todo):
                    for doing, spent in seconds.items():
                        counted.add(doing, spent)
                    yield piece, result
        if todo.lost:
            raise Failure(_said(todo.lost))

    def dismiss(self) -> None:
        """End all actors."""
        for hand in [*self.hands]:
            self._drop(hand)

    @property
    def _busy(self) -> bool:
        return any(hand.given for hand in self.hands)

    def _look(self) -> None:
        """Begin actors where the cluster has room for more.

        Raises Failure where its head is gone: a minute later Ray would end this process.
        """
        now = time.monotonic()
        if now - self.looked < LOOK_S and self.hands:
            return
        self.looked = now
        try:
            _answers(self.head)
        except Failure as silent:
            lost = _number(sum(len(hand.given) for hand in self.hands), "piece")
            raise Failure(
                f"the head of the Ray cluster, {self.head}, is gone, and with it {lost} of work in "
                "hand; all else is in the store: with another cluster the same command goes on"
            ) from silent
        there = int(self.ray.cluster_resources().get(_resource(self.base), 0)) // self.each
        wanted = there if self.slots is None else min(there, self.slots)
        for _ in range(wanted - len(self.hands)):
            actor = self.kind.remote()
            self.hands.append(_Hand(actor, actor.begin.remote(self.home, self.parcel)))
        ready = [hand for hand in self.hands if hand.beginning is None]
        if ready:
            nodes = len({self.nodes[hand] for hand in ready})
            self._tell(f"Ray: {_number(len(ready), 'actor')} on {_number(nodes, 'node')}")
            self.grew = now
        elif now - self.grew > SLOW_S:
            self._tell(f"Ray: waiting for a free {_resource(self.base)} of {there}")

    def _tell(self, line: str) -> None:
        if line != self.told:
            self.say(line)
            self.told = line

    def _hand_out(self, job: Any, todo: _Todo) -> None:
        """Give each actor what it takes; no actor has two before all have one."""
        for most in range(IN_FLIGHT):
            for hand in self.hands:
                if len(hand.given) <= most and todo.any and hand.takes(todo.tries):
                    piece, tries = todo.take()
                    hand.given.append(_Given(piece, tries, hand.actor.compute.remote([job], piece)))

    def _ready(self) -> list[_Hand]:
        """Actors that have something to say; waits for one, though not for long."""
        first = {}
        for hand in self.hands:
            if hand.beginning is not None:
                first[hand.beginning] = hand
            elif hand.given:
                first[hand.given[0].result] = hand
        if not first:
            time.sleep(0.1)
            return []
        ready, _ = self.ray.wait([*first], num_returns=1, timeout=LOOK_S)
        return [first[reference] for reference in ready]

    def _begun(self, hand: _Hand) -> None:
        """Take note that an actor is ready, or died. Raises UserError where none can be."""
        try:
            self.nodes[hand] = self._got(hand.beginning)
        except _LostError as lost:
            self._drop(hand)
            self.deaths += 1
            if self.deaths >= STARTS:
                raise Failure(
                    f"the actors of the Ray cluster die at their beginning: {lost}"
                ) from lost
        else:
            hand.beginning, self.deaths = None, 0
            self.looked = 0.0  # how many there are is said at once

    def _taken(self, hand: _Hand, todo: _Todo) -> Iterator[tuple[Any, Any]]:
        """The first result of an actor. Where it died, what it had goes back."""
        first = hand.given[0]
        try:
            result = self._got(first.result)
        except _LostError as lost:
            self._drop(hand)
            todo.back(first, str(lost))
            for waiting in [*hand.given][1:]:
                todo.back(waiting)
        else:
            hand.given.popleft()
            yield first.piece, result

    def _got(self, reference: Any) -> Any:
        """What a reference is to. Raises what was raised there, _LostError where that is lost."""
        exceptions = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except exceptions.RayTaskError as error:
            raise error.cause from None
        except exceptions.RayError as error:
            raise _LostError(str(error).strip().partition("\n")[0]) from error

    def _drop(self, hand: _Hand) -> None:
        self.hands.remove(hand)
        self.nodes.pop(hand, None)
        with suppress(Exception):  # it may be gone, and the cluster with it
            self.ray.kill(hand.actor)


class _LostError(Exception):
    """An actor died, or its node, or what it had computed."""


@dataclass
class _Todo:
    """Work that is not given out: pieces that came back, and those that are not begun.

    Attributes:
        lost: pieces that ended too many processes, with what was said of the last.
    """

    work: Iterator[Any]
    returned: deque[tuple[Any, int]] = field(default_factory=deque)
    lost: list[tuple[Any, str]] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether there is any."""
        if not self.returned:
            for piece in self.work:
                self.returned.append((piece, 0))
                break
        return bool(self.returned)

    @property
    def tries(self) -> int:
        """How many processes the next piece has ended."""
        return self.returned[0][1]

    def take(self) -> tuple[Any, int]:
        """The next piece, and how many processes it has ended."""
        return self.returned.popleft()

    def back(self, given: _Given, why: str = "") -> None:
        """Take a piece back. `why`: what was said where it was computed when its actor died."""
        tries = given.tries + bool(why)
        if tries >= TRIES:
            self.lost.append((given.piece, why))
        elif tries:
            self.returned.append((given.piece, tries))
        else:
            self.returned.appendleft((given.piece, tries))


def _ray() -> Any:
    """The module `ray`."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UserError(
            "--engine ray needs Ray, which is not installed: pip install 'indelible[ray]'"
        ) from error


def _connect(ray: Any, address: str | None) -> None:
    """Connect this process to a cluster. Raises as RayEngine does."""
    shown = address or os.environ.get("RAY_ADDRESS") or "local"
    _answers(shown)
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    begins = {"include_dashboard": False} if address == "local" else {}
    try:
        with _own_end():
            ray.init(address, **quiet, **begins)
    except (ConnectionError, TimeoutError) as error:
        raise _silent(shown, error) from error
    except (RuntimeError, ValueError, AssertionError, ImportError) as error:
        said = f"the Ray cluster at '{shown}' cannot be used: {_in_a_line(error)}"
        raise UserError(said) from error
    # What nodes report, as that a worker died, would be printed where our data goes, and no option
    # of Ray's keeps it off; whatever matters of it is said here.
    vars(importlib.import_module("ray._private.worker"))["_worker_logs_enabled"] = False


@contextmanager
def _own_end() -> Iterator[None]:
    """Keep what this process does when it is told to end: Ray puts its own in place of that."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _answers(address: str) -> None:
    """Raise Failure where nothing listens at HOST:PORT: Ray itself would try for minutes.

    Raises UserError for what is no address.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        raise UserError(
            f"the Ray cluster is to be at '{address}': it takes auto, local, HOST:PORT or "
            "ray://HOST:PORT"
        )
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _silent(address, error) from error


def _silent(address: str, error: Exception) -> Failure:
    why = getattr(error, "strerror", None) or _in_a_line(error)
    return Failure(
        f"the Ray cluster at '{address}' does not answer ({why}): see 'ray status' there, or give "
        "--address local to compute on this machine"
    )


def _resource(base: BaseModel) -> str:
    return "GPU" if base.device.type == "cuda" else "CPU"


def _in_a_line(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return textwrap.shorten(said, LONGEST, placeholder=" ...") or type(error).__name__


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _said(lost: list[tuple[Any, str]]) -> str:
    """Which pieces ended their processes."""
    pieces = "; ".join(_named(piece) for piece, _ in lost)
    return (
        f"the process that computed it ended {TRIES} times, for {pieces} ({lost[0][1]}). All else "
        "is done; the same command tries these again"
    )


def _named(piece: Any) -> str:
    """A piece of work, in words: an algorithm with sample ids, or a list of those."""
    if isinstance(piece, tuple) and isinstance(piece[0], Algorithm):
        return f"{piece[0].name} of samples {', '.join(map(str, piece[1]))}"
    members = (getattr(one, "lacking", one) for one in piece)
    return ", ".join(str(getattr(member, "sample", member)) for member in members)
