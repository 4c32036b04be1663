"""A store that does not answer is asked again, for a limited time, and the user is told so."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from tracker.store.addresses import without_credentials
from unlearning.errors import Failure

LIMIT_S = 60.0  # how long a store is asked again, by default
HELD_S = 120.0  # how long another writer may hold a SQLite file
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 4.0
SILENCE_S = 5.0  # between two lines that say what is waited for
CONFLICTS = 8  # attempts where another process writes the same rows at the same moment

FORBIDDEN = (401, 403, "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
LOG_IN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
AWAY = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "Timeout", "RetryError")  # requests'
SERVERS_FAULT = 500  # from this status on
# PostgreSQL's states in which it is not there, or not yet: connections lost, shutdown, too many.
AWAY_STATES = ("08", "57P", "53300")
STARTING = re.compile("starting up|shutting down|in recovery|accepting connections|too many")
CONFLICT = re.compile("IntegrityError|UniqueViolation")
DEFINITE = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS")  # MLflow's, whatever led to them
SYSTEM_ERROR = re.compile(r"\[Errno -?\d+\] ([^'\"()\[\]]+)")

Result = TypeVar("Result")
Client = TypeVar("Client")


class Retry:
    """Repeats attempts while a store does not answer. All threads of a store share one.

    Args:
        what: the store, as it may be printed. limit_s: how long it is asked again.
        say: is told what is waited for, a line at a time.
    """

    def __init__(
        self, what: str, limit_s: float = LIMIT_S, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self.what, self.limit_s, self.say = what, limit_s, say
        self._over = threading.Event()
        self._said = -SILENCE_S

    def __call__(self, attempt: Callable[[], Result]) -> Result:
        """The result of the attempt. It may be made several times.

        Raises Failure where the store stays away or another process holds it for too long.
        """
        began, number = time.monotonic(), 0
        while True:
            number += 1
            try:
                result = attempt()
            except Exception as error:  # which `_wait` raises if no waiting can mend it
                self._wait(error, number, time.monotonic() - began)
            else:
                self._over.clear()
                return result

    def of_all_methods(self, client: Client) -> Client:
        """The client, each of whose methods is called again while the store does not answer."""
        return cast("Client", _Repeating(client, self))

    def give_up(self) -> None:
        """Stop waiting, in all threads; from now on what does not answer at once fails."""
        self._over.set()

    def _wait(self, error: Exception, number: int, seconds: float) -> None:
        """Sleep for a while; or raise the error, or Failure where it took too long."""
        for each in _chain(error):
            each.args = tuple(map(without_credentials, each.args))
        if is_refused(error):
            raise Failure(f"{self.what} refuses: {reason(error)}: {LOG_IN}") from error
        held = is_held(error)
        if not (held or is_away(error) or (is_conflict(error) and number < CONFLICTS)):
            raise error
        left = (HELD_S if held else self.limit_s) - seconds
        if self._over.is_set() or left <= 0:
            self.give_up()
            does = "is held by another process" if held else "does not answer"
            raise Failure(f"{self.what} {does}, {seconds:.0f} s long: {reason(error)}") from error
        now = time.monotonic()
        if seconds > 1 and now - self._said >= SILENCE_S:
            self._said = now
            self.say(f"waiting for {self.what} ({reason(error)}), attempt {number}")
        self._over.wait(min(FIRST_PAUSE_S * 2 ** min(number, 9), LONGEST_PAUSE_S, left))


class _Repeating:
    """Wraps an object: its methods are called again while the store does not answer."""

    def __init__(self, client: object, retry: Retry) -> None:
        self._client, self._retry = client, retry

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if name.startswith("_") or not callable(attribute):
            return attribute
        return lambda *given, **named: self._retry(lambda: attribute(*given, **named))


def is_refused(error: BaseException) -> bool:
    """Whether an error says that a server wants another name or password, or another token."""
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


def is_conflict(error: BaseException) -> bool:
    """Whether it says that another process is writing the same rows at this moment."""
    return getattr(error, "error_code", "") not in DEFINITE and any(
        type(each).__name__ == "IntegrityError"
        or (getattr(each, "error_code", "") == "BAD_REQUEST" and CONFLICT.search(str(each)))
        or (getattr(each, "sqlstate", None) or "").startswith("40")
        for each in _chain(error)
    )


def is_away(error: BaseException) -> bool:
    """Whether it says that a server or a database could not be reached."""
    return any(map(_tells_of_absence, _chain(error)))


def _tells_of_absence(error: BaseException) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    name, package = type(error).__name__, type(error).__module__.partition(".")[0]
    if package == "requests":
        # With 500 and above a server says that it has lost its database or the files behind it.
        status = getattr(getattr(error, "response", None), "status_code", 0)
        return name in AWAY or (name == "HTTPError" and status >= SERVERS_FAULT)
    if package == "mlflow":
        return getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE" and not error.__cause__
    if package == "sqlalchemy":
        driver: BaseException | None = getattr(error, "orig", None)
        return driver is not None and _tells_of_absence(driver)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if package != "psycopg" or kinds.isdisjoint(("OperationalError", "InterfaceError")):
        return False
    state, text = getattr(error, "sqlstate", None) or "", str(error)
    if not state or state.startswith("08"):  # a server that says FATAL has answered
        return "FATAL" not in text or STARTING.search(text) is not None
    return state.startswith(AWAY_STATES)


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
