"""DuckDB's errors as one line for the user: what is wrong, and what to do."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import duckdb

from unlearning.errors import Failure, UserError

_HELD = re.compile(r'Could not set lock on file ".*": (.+?)(\. See also .*)?$')
_UNREADABLE = re.compile(
    "Corrupt database file|Could not read|replaying WAL|not a valid DuckDB|version number|"
    "Could not set lock"
)
_KNOWN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def first_line(error: Exception) -> str:
    """The message without the hints and the query that DuckDB adds below."""
    return " ".join(str(error).splitlines()[:1])


def unreadable(path: Path, error: duckdb.Error) -> UserError | Failure:
    """Why a warehouse cannot be opened or read."""
    said = first_line(error)
    if held := _HELD.search(said):
        return Failure(f"the warehouse {path} is in use: {held[1]}; close it there and try again")
    if "already attached" in said:
        return Failure(
            f"the warehouse {path} is open for writing in this very process: close it there first"
        )
    if "Permission denied" in said or not is_unreadable(error):
        return UserError(f"the warehouse {path} cannot be read: {said}")
    return UserError(
        f"{path} is not a warehouse that can be read ({said}): delete it and run 'indelible load'"
    )


def is_unreadable(error: duckdb.Error) -> bool:
    """Whether the error is due to the file, not to the query."""
    return _UNREADABLE.search(str(error)) is not None


def as_os_error(error: duckdb.Error) -> OSError:
    """The system's error behind an error of DuckDB's, with its number where that is known."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    numbers = (number for number in _KNOWN if os.strerror(number) in str(error))
    number = next(numbers, None)
    return OSError(first_line(error)) if number is None else OSError(number, os.strerror(number))
