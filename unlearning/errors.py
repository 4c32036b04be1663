"""The two ways in which a command ends early, each with one clear line for the user."""

from __future__ import annotations

from contextlib import suppress


class UserError(Exception):
    """The user's mistake: says what was given, what is accepted and what to do (exit code 2)."""


class Failure(Exception):  # noqa: N818 - it is the user's word for it
    """Something outside failed: a server that does not answer, a full disk (exit code 1)."""


def words_of(error: BaseException) -> str:
    """What an exception says; nothing where it cannot say it, as some of other people's cannot."""
    with suppress(Exception):
        return str(error)
    return ""
