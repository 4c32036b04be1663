"""Waiting for a store that does not answer: for a limited time, and saying so."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from tracker.store.addresses import without_credentials
from unlearning.errors import Failure

SILENCE_S = 5.0  # until the user is told what is waited for
LIMIT_S = 60.0  # how long a store is waited for, by default
HELD_S = 120.0  # how long another writer may hold a SQLite file
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 4.0
CROWDED = 8  # attempts where another process writes the same at the same moment

ABSENT = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "Timeout", "RetryError")
SERVERS_FAULT = 500  # from this status on
FORBIDDEN = (401, 403, "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
LOG_IN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"

Result = TypeVar("Result")
Client = TypeVar("Client")

TRANSIENT = re.compile(
    "starting up|shutting down|in recovery|not (yet )?accepting connections|"
    "too many (clients|connections)"
)
REFUSED = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS")  # MLflow's codes of that
# How a server tells of an error of its database's, by its driver's name for it.
TAKEN = re.compile(r"\(\w+(\.\w+)*\.(IntegrityError|UniqueViolation)\)")
SYSTEM_ERROR = re.compile(r"\[Errno -?\d+\] ([^'\"()\[\]]+)")


class Patience:
    """Repeats attempts while a store does not answer. All threads of a store share one.

    Args:
        what: the store, as it may be printed. limit_s: how long it is waited for.
        say: is told what is waited for, a line at a time.
    """

    def __init__(
        self, what: str, limit_s: float = LIMIT_S, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self.what, self.limit_s, self.say = what, limit_s, say
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._said = -SILENCE_S

    def __call__(self, attempt: Callable[[], Result]) -> Result:
        """The result of the attempt. It may be made several times.

        Raises Failure where the store stays away or another process holds it for too long.
        """
        tries = _Tries()
        with self._watched(tries):
            while True:
                tries.number += 1
                try:
                    result = attempt()
                except Exception as error:
                    self._wait(error, tries)
                else:
                    self._over.clear()
                    return result

    def with_all_of(self, client: Client) -> Client:
        """The client, with patience in each of its methods."""
        return cast("Client", _Patient(client, self))

    def give_up(self) -> None:
        """Stop waiting, in all threads; from now on what does not answer at once fails."""
        self._over.set()

    def _wait(self, error: Exception, tries: _Tries) -> None:
        """Sleep for a while; or raise the error, or Failure where it took too long."""
        for each in _chain(error):
            each.args = tuple(map(without_credentials, each.args))
        if is_refused(error):
            raise Failure(f"{self.what} refuses: {reason(error)}: {LOG_IN}") from error
        held, crowded = is_held(error), is_crowded(error) and tries.number < CROWDED
        if not (held or crowded or is_away(error)):
            raise error
        tries.why = reason(error)
        left = (HELD_S if held else self.limit_s) - tries.seconds
        if self._over.is_set() or left <= 0:
            self.give_up()
            does = "is held by another process" if held else "does not answer"
            raise Failure(f"{self.what} {does}, {tries.seconds:.0f} s long: {tries.why}") from error
        self._over.wait(min(FIRST_PAUSE_S * 2 ** min(tries.number, 9), LONGEST_PAUSE_S, left))

    @contextmanager
    def _watched(self, tries: _Tries) -> Iterator[None]:
        """Say what is waited for, after SILENCE_S and then every other SILENCE_S."""
        over = threading.Event()

        def watch() -> None:
            seconds = SILENCE_S
            while not over.wait(seconds):
                self._tell(f"waiting for {self.what}{tries}")
                seconds = 2 * SILENCE_S

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()

    def _tell(self, line: str) -> None:
        with self._lock:
            if time.monotonic() - self._said < SILENCE_S:
                return
            self._said = time.monotonic()
        self.say(line)


@dataclass
class _Tries:
    """How often an attempt was made, since when, and why it failed last."""

    number: int = 0
    why: str = ""
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def __str__(self) -> str:
        return f"{f' ({self.why})' if self.why else ''}, attempt {self.number}"


class _Patient:
    """Wraps an object: its methods are called again while the store does not answer."""

    def __init__(self, client: object, patience: Patience) -> None:
        self._client, self._patience = client, patience

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if name.startswith("_") or not callable(attribute):
            return attribute
        return lambda *given, **named: self._patience(lambda: attribute(*given, **named))


def is_away(error: BaseException) -> bool:
    """Whether an error says that a server or a database could not be reached."""
    return any(_tells_of_absence(each) for each in _chain(error))


def is_refused(error: BaseException) -> bool:
    """Whether it says that a server wants another name or password, or another token."""
    return any(
        getattr(each, "error_code", "") in FORBIDDEN
        or getattr(getattr(each, "response", None), "status_code", 0) in FORBIDDEN
        for each in _chain(error)
    )


def is_held(error: BaseException) -> bool:
    """Whether it says that another process holds a SQLite file."""
    return any(
        type(each).__name__ == "OperationalError" and "database is locked" in str(each)
        for each in _chain(error)
    )


def is_crowded(error: BaseException) -> bool:
    """Whether it says that another process is writing the same rows at this moment.

    What MLflow refuses for its value, or since it is there, it refuses again, whichever error had
    led to that.
    """
    return getattr(error, "error_code", "") not in REFUSED and any(
        type(each).__name__ == "IntegrityError"
        or (getattr(each, "error_code", "") == "BAD_REQUEST" and TAKEN.search(str(each)))
        or (getattr(each, "sqlstate", None) or "")[:2] == "40"
        for each in _chain(error)
    )


def reason(error: BaseException) -> str:
    """Why, in a few words: of the innermost error."""
    *_, innermost = _chain(error)
    text = str(innermost)
    if match := SYSTEM_ERROR.search(text):
        return match[1].strip()
    if "timed out" in text or isinstance(innermost, TimeoutError):
        return "timed out"
    return " ".join(text.splitlines()[:1])[:200] or type(innermost).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _tells_of_absence(error: BaseException) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    name, package = type(error).__name__, _package(error)
    if package == "requests":
        # With 500 and above a server says that it has lost its database or the files behind it.
        status = getattr(getattr(error, "response", None), "status_code", 0)
        return name in ABSENT or (name == "HTTPError" and status >= SERVERS_FAULT)
    if package == "mlflow":
        return getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE" and not error.__cause__
    is_of_sql = package == "sqlalchemy" and name in ("OperationalError", "InterfaceError")
    return is_of_sql and _cannot_be_reached(getattr(error, "orig", None))


def _package(error: BaseException) -> str:
    """The package that an error is of."""
    return type(error).__module__.partition(".")[0]


def _cannot_be_reached(error: Any) -> bool:
    """Whether a database driver's error is one of the connection, not of a query."""
    if type(error).__module__.partition(".")[0] == "sqlite3":
        return False
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    return (state[:2] in ("", "08") and _passes(error)) or state[:3] == "57P" or state == "53300"


def _passes(error: BaseException) -> bool:
    """Whether waiting may help. It does not where a server has answered that it refuses."""
    return "FATAL" not in str(error) or bool(TRANSIENT.search(str(error)))
