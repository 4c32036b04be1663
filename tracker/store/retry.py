"""A store that does not answer is asked again, for a limited time, and the user is told so."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import tenacity

from tracker.store.addresses import without_password
from unlearning.errors import Failure

LIMIT_S = 60.0  # how long a store is asked again, by default
SILENCE_S = 5.0  # between two lines that say what is waited for

LOST = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "Timeout", "RetryError")  # requests'
# PostgreSQL's states: connection lost, shutdown, too many; also two transactions in conflict.
AWAY_STATES = ("08", "57P", "53300", "40")
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
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: bool(passing(error))),
            wait=tenacity.wait_exponential(multiplier=0.1, max=4),
            stop=tenacity.stop_after_delay(limit_s) | tenacity.stop_when_event_set(self._over),
            sleep=tenacity.sleep_using_event(self._over),
            before_sleep=self._tell,
            retry_error_callback=self._fail,
        )

    def __call__(self, attempt: Callable[[], Result]) -> Result:
        """The result of the attempt. It may be made several times.

        Raises Failure where the store stays away, or is held by another process.
        """
        try:
            result = self._retrying(attempt)
        except Exception as error:  # whoever raised it, its message is to name no password
            for each in _chain(error):
                texts = (without_password(a) if isinstance(a, str) else a for a in each.args)
                each.args = tuple(texts)
            raise
        self._over.clear()
        return result

    def of_all_methods(self, client: Client) -> Client:
        """The client, each of whose methods is called again while the store does not answer."""
        return cast("Client", _Repeating(client, self))

    def give_up(self) -> None:
        """Stop waiting, in all threads; from now on what does not answer at once fails."""
        self._over.set()

    def _tell(self, state: tenacity.RetryCallState) -> None:
        error, seconds = _failed(state)
        if seconds > 1 and time.monotonic() - self._said >= SILENCE_S:
            self._said = time.monotonic()
            self.say(f"waiting for {self.what} ({reason(error)}), attempt {state.attempt_number}")

    def _fail(self, state: tenacity.RetryCallState) -> Any:
        self.give_up()
        error, seconds = _failed(state)
        does, why = passing(error), reason(error)
        raise Failure(f"{self.what} {does}, {seconds:.0f} s long: {why}") from error


class _Repeating:
    """Wraps an object: its methods are called again while the store does not answer."""

    def __init__(self, client: object, retry: Retry) -> None:
        self._client, self._retry = client, retry

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if name.startswith("_") or not callable(attribute):
            return attribute
        return lambda *given, **named: self._retry(lambda: attribute(*given, **named))


def passing(error: BaseException) -> str:
    """What the store does, by an error that may pass; empty for one that no waiting mends."""
    if getattr(error, "error_code", "") in DEFINITE:
        return ""
    for each in _chain(error):
        name, code = type(each).__name__, getattr(each, "error_code", "")
        if _tells_of_absence(each):
            return "does not answer"
        if name == "OperationalError" and "database is locked" in str(each):
            return "is held by another process"
        if name == "IntegrityError" or (code == "BAD_REQUEST" and CONFLICT.search(str(each))):
            return "is written by another process"
    return ""


def _tells_of_absence(error: BaseException) -> bool:
    name, package = type(error).__name__, type(error).__module__.partition(".")[0]
    if package == "requests":
        # With 500 and above a server says that it has lost its database or the files behind it.
        return name in LOST or getattr(getattr(error, "response", None), "status_code", 0) >= 500
    if package == "mlflow":
        return getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE" and not error.__cause__
    driver: Any = getattr(error, "orig", None)  # what SQLAlchemy's classes wrap: here psycopg's
    if name not in ("OperationalError", "InterfaceError") or not hasattr(driver, "sqlstate"):
        return isinstance(error, (ConnectionError, TimeoutError))
    if driver.sqlstate:
        return str(driver.sqlstate).startswith(AWAY_STATES)
    # A server that says FATAL has answered.
    return "FATAL" not in str(driver) or STARTING.search(str(driver)) is not None


def reason(error: BaseException) -> str:
    """Why, in a few words: of the innermost error."""
    *_, innermost = _chain(error)
    text = without_password(str(innermost))
    if match := SYSTEM_ERROR.search(text):
        return match[1].strip()
    if "timed out" in text or isinstance(innermost, TimeoutError):
        return "timed out"
    return " ".join(text.splitlines()[:1])[:200] or type(innermost).__name__


def _failed(state: tenacity.RetryCallState) -> tuple[BaseException, float]:
    """What an attempt raised, and seconds since the first."""
    error = state.outcome.exception() if state.outcome else None
    assert error is not None
    return error, state.seconds_since_start or 0.0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
