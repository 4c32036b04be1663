"""Files that are whole or absent: a draft beside its place, moved there once it is complete."""

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

# With what is written beside it: a log and a folder for what has no room in memory by DuckDB, a log
# and its index by SQLite.
_DRAFT = re.compile(r"\.indelible-[0-9a-f]{16}\.draft(\.wal|\.tmp|-wal|-shm)?")
BESIDE = ("", ".wal", ".tmp", "-wal", "-shm")


@contextmanager
def draft_of(path: Path, what: str = "", replace: bool = True) -> Iterator[Path]:
    """A new name beside `path`; the file of that name takes its place if nothing is raised.

    Drafts that killed processes left in the folder are removed when they are a day old.

    Args:
        what: what the file is to its reader, for the message.
        replace: whether it takes the place of a file that is there.

    Raises UserError if the file cannot be written, Failure if there is no room for it.
    """
    draft = path.with_name(f".indelible-{secrets.token_hex(8)}.draft")
    try:
        _try_name(path)
        _tidy(path.parent)
        yield draft
        if replace:
            draft.replace(path)
        else:
            _put_if_absent(draft, path)
    except OSError as error:
        raise unwritten(what or str(path), error) from error
    finally:
        for end in BESIDE:
            _remove(draft.with_name(f"{draft.name}{end}"))


def write_whole(path: Path, content: bytes, replace: bool = True) -> None:
    """Write a file and see it onto the disk, or leave what was there.

    Args:
        replace: whether it takes the place of another file of that name. If not, the first of two
            processes that write the same file is the one that stays.

    Raises UserError if the file cannot be written, Failure if there is no room for it.
    """
    with draft_of(path, replace=replace) as draft, draft.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def make_folder(folder: Path, what: str = "") -> None:
    """Make a folder, and those above it, if it is not there. Args and errors as of `draft_of`."""
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


def _put_if_absent(draft: Path, path: Path) -> None:
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            draft.replace(path)


def _try_name(path: Path) -> None:
    """Raises OSError if no file can have that name, before any work is done for it."""
    with suppress(FileNotFoundError):
        os.lstat(path)


def _tidy(folder: Path) -> None:
    """Remove what killed processes left: drafts of ours that are old, and nothing else."""
    with suppress(OSError):  # another process may be as tidy, or the folder not be ours to list
        for file in folder.iterdir():
            is_ours = _DRAFT.fullmatch(file.name) and file.is_dir() == file.name.endswith(".tmp")
            if is_ours and time.time() - file.stat().st_mtime > OLD:
                _remove(file)


def _remove(path: Path) -> None:
    """Remove a draft or a folder of one, as far as it is there and can be."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
