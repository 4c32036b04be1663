"""How a command ends early, each way with one clear line for the user."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

LONGEST = 300  # characters of what an exception says


class UserError(Exception):
    """The user's mistake: says what was given, what is accepted and what to do (exit code 2)."""


class Failure(Exception):  # noqa: N818 - it is the user's word for it
    """Something outside failed: a server that does not answer, a full disk (exit code 1)."""


@dataclass(eq=False)
class Raised(Failure):
    """An exception that a plug-in raised.

    Attributes:
        kind, name: of the plug-in. line: says what it raised. trace: the traceback.
    """

    kind: str
    name: str
    line: str
    trace: str

    def __str__(self) -> str:
        return self.line


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Unlearning or training was asked to stop, and stopped between two steps."""


def hold(holds: object, said: str) -> None:
    """Raise AssertionError where something does not hold, under `python -O` too."""
    if not holds:
        raise AssertionError(said)


def words_of(error: BaseException) -> str:
    """What an exception says, in one short line; the name of its class where it says nothing."""
    return textwrap.shorten(str(error), LONGEST, placeholder=" ...") or type(error).__name__
