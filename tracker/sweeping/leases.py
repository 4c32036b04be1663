"""What processes at one sweep tell each other, so that none does what another is doing.

A piece of work is taken by a param of the run with the sweep's leases, `PIECE/GENERATION`, with a
name of the process for its value: MLflow lets nobody change a param, so the first one has it. Each
process shows every few seconds that it lives, by a tag of that run. What a dead one has taken, by
its generation, is taken over under the next.

Nobody compares the clocks of two machines: a process is dead where its tag has not changed for a
while by the clock of whoever looks, or where it was of this machine and is gone.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mlflow.entities import Param, Run
from mlflow.exceptions import MlflowException

from tracker.access.blocks import in_blocks
from tracker.record.records import Kind, its_process_is_gone
from tracker.record.store import PROCESS, Store, leases_record
from unlearning.errors import Failure, UserError

BEAT_S = 5.0  # between two signs of life
SILENT_S = 45.0  # after so long without one a process counts as dead
PAUSE_S = 2.0  # between two looks at what others do
BUSY_S = 2.0  # how long the end of a process waits for its own sign of life
MEMBERS = "members"  # begins the work of computing or bringing those of an algorithm
STEPS = "steps"  # the work of taking those of an unlearning
AT_A_TIME = 100  # params in a request; MLflow takes no more
MOST = 2  # times that a process does the same piece, if its work is deleted meanwhile

ENDED = "ended"  # the last sign of life
SIGN = "alive/"  # begins the tag with it; after it comes the process


@dataclass
class Leases:
    """The pieces of a sweep that this process has taken, and those that others have.

    As a context it shows that this process lives, until it ends.

    Attributes:
        run_id: of the run with the sweep's leases.
        held: how many members living others had, by process, since the last `look`.
        given: how many pieces were given out.
    """

    store: Store
    run_id: str
    me: str = field(default_factory=lambda: new_name())
    held: Counter[str] = field(default_factory=Counter)
    given: int = 0

    def __post_init__(self) -> None:
        self._mine: Counter[str] = Counter()  # how often each of the pieces was given out
        self._sizes: dict[str, int] = {}  # members in a piece, by work
        self._signs: dict[str, str] = {}
        self._silent_s: dict[str, float] = {}
        self._dead: frozenset[str] = frozenset()
        self._params: dict[str, str] = {}
        self._looked = time.monotonic()
        self._over, self._beating = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Leases:
        try:
            self._sign("0")
        except MlflowException:  # another process has ended the sweep at this moment
            self.store.bring_back(self.run_id)
            self._sign("0")
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._beating.acquire(timeout=BUSY_S):  # else the store is away, and silence tells it
            with suppress(MlflowException, Failure):
                self._sign(ENDED)

    def look(self) -> None:
        """See what others have taken, and who of them is dead from now on.

        What the dead have written is in the store by now: whoever asks it after this does not do
        it again.
        """
        data, now = self.store.run(self.run_id).data, time.monotonic()
        passed = min(now - self._looked, 2 * BEAT_S)  # a store that was away is nobody's silence
        signs = {n.removeprefix(SIGN): v for n, v in data.tags.items() if n.startswith(SIGN)}
        for process, sign in signs.items():
            same = self._signs.get(process) == sign
            self._silent_s[process] = self._silent_s[process] + passed if same else 0.0
        self._params, self._signs, self._looked = dict(data.params), signs, now
        holders = {value for name, value in data.params.items() if not name.startswith(SIZE)}
        self._dead = frozenset(filter(self._is_dead, holders - {self.me}))
        self.held.clear()

    def end(self) -> None:
        """Delete the run with the leases, if no other process is at the sweep."""
        self.look()
        if not self.others():
            with suppress(MlflowException):  # another process did
                self.store.discard([self.run_id])

    def others(self) -> list[str]:
        """The processes that seem to be at the sweep as well, as of the last look."""
        return [name for name in self._signs if name != self.me and not self._is_dead(name)]

    def taken(self, work: str, numbers: Sequence[int], size: int) -> Iterator[int]:
        """Those of some members that this process is to do; pieces are taken one after the other.

        Args:
            work: what is done with them. numbers: places in the plan, ascending.
            size: members in a piece, if no other process has begun this work.
        """
        size = int(self.store.first(self.run_id, f"{SIZE}{work}", str(size))) if numbers else size
        for piece, members in itertools.groupby(numbers, key=lambda number: number // size):
            name = f"{work}/{piece}"
            holder = self.take(name)
            if holder != self.me:
                self.held[holder] += len(list(members))
            elif self._mine[name] < MOST:
                self._mine[name] += 1
                self.given += 1
                yield from members

    def takes(self, work: str, numbers: Sequence[int], size: int) -> set[int]:
        """Those of some members that this process is to do: all that nobody else has taken.

        Args:
            numbers: places in the plan. size: as `taken` has it.
        """
        if work not in self._sizes:
            self._sizes[work] = int(self.store.first(self.run_id, f"{SIZE}{work}", str(size)))
        pieces = {number: f"{work}/{number // self._sizes[work]}" for number in numbers}
        self._try(sorted({*pieces.values()}))
        return {number for number, piece in pieces.items() if self.take(piece) == self.me}

    def _try(self, pieces: Sequence[str]) -> None:
        """Take pieces that nobody is known to have, in one request, if nobody has one of them."""
        keys = [f"{piece}/0" for piece in pieces if f"{piece}/0" not in self._params]
        for some in in_blocks(keys, AT_A_TIME):
            with suppress(MlflowException):  # then they are taken one by one
                params = [Param(key, self.me) for key in some]
                self.store.client.log_batch(self.run_id, params=params)
                self._params |= dict.fromkeys(some, self.me)

    def take(self, piece: str) -> str:
        """The process that has a piece of work: this one, unless it is another that lives."""
        for generation in itertools.count():
            key = f"{piece}/{generation}"
            holder = self._params.get(key) or self.store.first(self.run_id, key, self.me)
            self._params[key] = holder
            if holder not in self._dead:
                return holder
        raise AssertionError  # there is no last generation

    def take_alone(self, piece: str, what: str, waiting: Callable[[str], None]) -> None:
        """Take a piece of work that nobody shares, once it is known that who has it is dead.

        Args:
            what: it is, in words. waiting: is told for whom.

        Raises UserError while a process that lives has it.
        """
        sign = None
        while (holder := self.take(piece)) != self.me:
            if sign not in (None, self._signs.get(holder)):
                raise UserError(f"{shown(holder)} is at {what}: wait until it has ended")
            sign = self._signs.get(holder)
            waiting(shown(holder))
            self.wait()
            self.look()

    def take_in_turn(self, piece: str, waiting: Callable[[str], None]) -> None:
        """Take a piece of work that one process does at a time, after those that live and have it.

        Args:
            waiting: is told for whom.
        """
        told = ""
        while (holder := self.take(piece)) != self.me:
            if holder != told:
                waiting(shown(holder))
            told = holder
            self.wait()
            self.look()

    def company(self, waiting: Callable[[str], None]) -> str | None:
        """A process that is at the same and lives, as is known in the end; None if there is none.

        Who turns out to be dead counts as ended from then on, so that nobody else waits for it.

        Args:
            waiting: is told of whom it has to be found out.
        """
        signs = dict(self._signs)
        while others := self.others():
            for other in others:
                if self._signs[other] != signs.setdefault(other, self._signs[other]):
                    return other
            waiting(shown(others[0]))
            self.wait()
            self.look()
        for process, sign in self._signs.items():
            if sign != ENDED and process != self.me:
                self._sign(ENDED, process)
        return None

    def wait(self) -> None:
        """Let others work for a moment."""
        time.sleep(PAUSE_S)

    def _is_dead(self, process: str) -> bool:
        sign = self._signs.get(process, ENDED)
        return sign == ENDED or self._silent_s.get(process, 0.0) > SILENT_S or is_gone(process)

    def _beat(self) -> None:
        for number in itertools.count(1):
            if self._over.wait(BEAT_S):
                return
            with self._beating, suppress(MlflowException, Failure):
                if not self._over.is_set():
                    self._sign(str(number))

    def _sign(self, sign: str, process: str = "") -> None:
        self.store.client.set_tag(self.run_id, f"{SIGN}{process or self.me}", sign)


def close_stale_sweeps(store: Store) -> None:
    """Mark sweeps as KILLED that are RUNNING though all processes at them are gone.

    So are tunings and unlearnings.

    Those on other machines count as alive until they say that they have ended.
    """
    ids = [experiment.experiment_id for experiment in store.experiments()]
    running = "attributes.status = 'RUNNING'"
    asked = (Kind.SWEEP, Kind.TUNING, Kind.UNLEARNING)
    kinds = (f"tags.kind = '{kind}'" for kind in asked)
    for sweep in [run for kind in kinds for run in store.runs(ids, f"{kind} and {running}")]:
        if its_process_is_gone(sweep.data.tags.get(PROCESS, "")) and not is_shared(store, sweep):
            store.interrupt(sweep.info.run_id)


def is_shared(store: Store, sweep: Run) -> bool:
    """Whether a process seems to be at a sweep, though not the one that began it last."""
    key = leases_record(sweep.info.run_id).key
    same = f"tags.kind = '{Kind.LEASES}' and tags.key = '{key}'"
    return any(
        sign != ENDED and not is_gone(name.removeprefix(SIGN))
        for run in store.runs([sweep.info.experiment_id], same)
        for name, sign in run.data.tags.items()
        if name.startswith(SIGN)
    )


SIZE = "size/"  # begins the params that say how many members a piece has


def new_name() -> str:
    """A name for this process at one sweep, which no other has."""
    return f"{_host()}:{os.getpid()}:{_place()}:{uuid.uuid4().hex[:12]}"


def is_gone(process: str) -> bool:
    """Whether a process of that name was of this machine, and has ended."""
    _, pid, place, _ = process.split(":")
    return place == _place() and its_process_is_gone(f"{socket.gethostname()}:{pid}")


def shown(process: str) -> str:
    """A process as it is told of."""
    host, pid, *_ = process.split(":")
    return f"process {pid} on {host}"


def _host() -> str:
    """The name of this machine, in letters that MLflow takes."""
    return re.sub(r"[^\w.-]", "-", socket.gethostname())[:100]


@cache
def _place() -> str:
    """What tells this machine, and a container on it, from others: here a process id says who."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii"))
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
