"""One process drives a sweep, a tuning or an unlearning; a second one is told so and leaves.

Of a sweep in shares that is one process a share.

In an embedded store that is a lock of the operating system, on a file in the store's folder: it
ends with its process, so that what was killed goes on at once. In a store that several machines
share it is a heartbeat, a tag of the run that its driver changes every few seconds: a driver whose
tag has stood still for a minute is dead. No clocks of two machines are compared.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException

from tracker.store.records import Kind, its_process_is_gone, read_tag, sha256_of, this_process
from tracker.store.write import PROCESS, Store
from unlearning.errors import Failure, UserError

LOCKS = "locks"  # the folder of an embedded store with the locks, and who has them
TAG = "driver"  # of a run in a shared store
BEAT_S = 5.0  # between two changes of the tag
SETTLED_S = 1.0  # after writing the tag, until it is seen who wrote it last
DEAD_S = 60.0  # without a change

Say = Callable[[str], None]


@contextmanager
def driving(
    store: Store,
    run_id: str,
    what: str,
    share: str = "",
    say: Say = lambda line: None,
) -> Iterator[Callable[[], None]]:
    """Drive the work of a run; what is yielded raises Failure once another process does.

    Args:
        what: the run is, in words, for messages. share: the part of its work, such as 3/16.
        say: is told what is waited for.

    Raises UserError where another process drives it.
    """
    if store.address.is_embedded:
        with locked(store, f"{run_id} {share}", f"{what}, share {share}" if share else what):
            yield lambda: None
        return
    heart = _Heart(store, run_id, f"{TAG}/{share}" if share else TAG, what)
    heart.take(say)
    beats = threading.Thread(target=heart.beat, daemon=True)
    beats.start()
    try:
        yield heart.check
    finally:
        heart.over.set()
        beats.join(BEAT_S)
        with suppress(MlflowException, Failure):  # else silence tells it
            if heart.is_mine():
                store.untag(run_id, heart.tag)


@contextmanager
def locked(store: Store, name: str, what: str) -> Iterator[None]:
    """Hold a lock of an embedded store. Raises UserError where another process holds it."""
    file = store.address.folder / LOCKS / sha256_of(name)[:32]
    file.parent.mkdir(exist_ok=True)
    who = file.with_suffix(".json")
    try:
        lock = FileLock(file.with_suffix(".lock"), timeout=0).acquire()
    except Timeout:
        raise _driven(what, read_tag(who.read_text("utf-8")) if who.exists() else {}) from None
    with lock:
        who.write_text(json.dumps(_this_driver()), "utf-8")
        yield


class _Heart:
    """The heartbeat of a driver: a tag of the run, that changes."""

    def __init__(self, store: Store, run_id: str, tag: str, what: str) -> None:
        self.store, self.run_id, self.tag, self.what = store, run_id, tag, what
        self.me = _this_driver() | {"id": uuid.uuid4().hex}
        self.over, self.lost = threading.Event(), threading.Event()

    def take(self, say: Say) -> None:
        """Become the driver. Raises UserError where another process is, or becomes it now.

        Another one is waited for until it has been silent for long enough.
        """
        other = self._now()
        if other and not its_process_is_gone(other.get("process", "")):
            say(f"does process {other.get('process')} live, which drives {self.what}?")
            deadline = time.monotonic() + DEAD_S
            while time.monotonic() < deadline and (now := self._now()):
                if now != other:
                    raise _driven(self.what, now)
                time.sleep(SETTLED_S)
        self._write(0)
        time.sleep(SETTLED_S)
        if not self.is_mine():
            raise _driven(self.what, self._now())

    def check(self) -> None:
        """Raise Failure if another process has taken over, to which this one seemed dead."""
        if self.lost.is_set():
            raise Failure(f"another process drives {self.what} by now: it goes on there")

    def beat(self) -> None:
        """Change the tag until it is over, or another process has written it."""
        number = 0
        while not self.over.wait(BEAT_S) and not self.lost.is_set():
            number += 1
            with suppress(MlflowException, Failure):  # it is away: others wait for it
                if self.is_mine():
                    self._write(number)
                else:
                    self.lost.set()

    def is_mine(self) -> bool:
        """Whether this process wrote the tag."""
        return self._now().get("id") == self.me["id"]

    def _write(self, beat: int) -> None:
        said = json.dumps(self.me | {"beat": str(beat)})
        self.store.client.set_tag(self.run_id, self.tag, said)

    def _now(self) -> dict[str, str]:
        """What the tag says; empty without a driver."""
        return read_tag(self.store.run(self.run_id).tags.get(self.tag, ""))


def close_stale_sweeps(store: Store) -> None:
    """Mark sweeps, tunings and unlearnings as KILLED that are RUNNING though their process is gone.

    Those on other machines count as alive.
    """
    ids = [experiment.experiment_id for experiment in store.experiments()]
    for kind in (Kind.SWEEP, Kind.TUNING, Kind.UNLEARNING, Kind.AUDIT):
        running = f"tags.kind = '{kind}' and attributes.status = 'RUNNING'"
        for run in list(store.runs(ids, running)):
            if its_process_is_gone(run.tags.get(PROCESS, "")):
                store.interrupt(run.run_id)


def _this_driver() -> dict[str, str]:
    return {"process": this_process(), "since": datetime.now(UTC).isoformat(timespec="seconds")}


def _driven(what: str, who: dict[str, str]) -> UserError:
    host, _, pid = who.get("process", "another:process").rpartition(":")
    since = who.get("since", "an unknown time")
    return UserError(
        f"process {pid} on {host} drives {what} since {since}: wait until it has ended"
    )
