"""Atomic writes: a temporary file beside its place (a draft), moved there once it is complete."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unlearning.errors import Failure, UserError

OLD = 24 * 3600  # seconds after which a draft is nobody's any more: its process was killed
FULL = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)

# With what DuckDB and SQLite write beside it: logs, an index, a folder for what is too large.
_DRAFT = re.compile(r"\.indelible-[0-9a-f]{16}\.draft(\.wal|\.tmp|-wal|-shm)?")


@contextmanager
def written_atomically(path: Path, what: str = "", replace: bool = True) -> Iterator[Path]:
    """A new name beside `path`; the file of that name takes its place if nothing is raised.

    Drafts that killed processes left in the folder are removed when they are a day old.

    Args:
        what: what the file is to its reader, for the message.
        replace: whether it takes the place of a file that is there.

    Raises UserError if the file cannot be written, Failure if there is no room for it.
    """
    draft = path.with_name(f".indelible-{secrets.token_hex(8)}.draft")
    try:
        with suppress(FileNotFoundError):
            os.lstat(path)  # whether any file can have that name, before work is done for it
        with suppress(OSError):  # another process may be as tidy, or the folder not be ours to list
            for file in path.parent.iterdir():
                if is_draft(file.name) and time.time() - file.stat().st_mtime > OLD:
                    _remove(file)
        yield draft
        if not replace:
            with suppress(OSError):  # there is one, or the file system has no links
                path.hardlink_to(draft)
        if replace or not path.exists():
            draft.replace(path)
    except OSError as error:
        raise unwritten(what or str(path), error) from error
    finally:
        for end in ("", ".wal", ".tmp", "-wal", "-shm"):
            _remove(draft.with_name(f"{draft.name}{end}"))


def write_atomically(path: Path, content: bytes, replace: bool = True) -> None:
    """Write a file and see it onto the disk, or leave what was there.

    Args:
        replace: whether it takes the place of another file of that name. If not, the first of two
            processes that write the same file is the one that stays.

    Raises UserError if the file cannot be written, Failure if there is no room for it.
    """
    with written_atomically(path, replace=replace) as draft, draft.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def make_folder(folder: Path, what: str = "") -> None:
    """Make a folder, and those above it, if it is not there.

    Args and errors as of `written_atomically`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritten(what or str(folder), error) from error


def is_draft(name: str) -> bool:
    """Whether a file of that name is a draft, perhaps one that was left."""
    return _DRAFT.fullmatch(name) is not None


def unwritten(what: str, error: OSError) -> UserError | Failure:
    """The one line for something that cannot be written."""
    kind = Failure if error.errno in FULL else UserError
    reason = os.strerror(error.errno) if error.errno else str(error)
    return kind(f"{what} cannot be written: {reason}")


def _remove(path: Path) -> None:
    """Remove a draft or a folder of one, as far as it is there and can be."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
