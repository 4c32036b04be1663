"""MLflow's databases that are files, open to be read: without MLflow, whose import takes seconds.

No other SQLite library than Python's own may open a file in this process: where one of two closes
it, the system drops the locks of both, and a write may be lost ("How To Corrupt An SQLite Database
File", 2.2.1).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from tracker.store.addresses import Address
from unlearning.errors import Failure

ENDS = Path(__file__).parent / "sql" / "ends.sql"
BACKUP = "put a backup in its place, and delete the files -wal and -shm beside it"


def check_pages(address: Address) -> None:
    """Raise Failure where a database that is a file is damaged, its indexes too: all is read."""
    if address.file is not None:
        with opened(address) as file:
            ((problem,),) = file.execute("pragma integrity_check(1)")
        if problem != "ok":
            problem = " ".join(problem.split())
            raise Failure(f"the database {address.file} is damaged ({problem}): {BACKUP}")


def ends(address: Address) -> tuple[int, int, str, str] | None:
    """How many runs an embedded store has, when they ended and were measured, and their names.

    None where it is not known: it is another store, or cannot be read now.
    """
    if address.is_embedded and address.file is not None and address.file.exists():
        with suppress(Failure, sqlite3.Error), opened(address) as file:
            ((runs, times, measured_at, names),) = file.execute(ENDS.read_text("utf-8"))
            return int(runs), int(times), str(measured_at), str(names)
    return None


@contextmanager
def opened(address: Address) -> Iterator[sqlite3.Connection]:
    """A file, open to be read. SQLite puts two more beside one in write-ahead mode.

    In a folder that cannot be written it is told that the file does not change, unless the log
    beside it has content that is not in the file yet.
    """
    assert address.file is not None
    log = address.file.with_name(f"{address.file.name}-wal")
    settled = True
    with suppress(FileNotFoundError):  # whoever closes the database last deletes the log
        settled = not log.stat().st_size
    how = "mode=rw" if not address.is_read_only else "immutable=1" if settled else "mode=ro"
    uri = f"file:{quote(str(address.file))}?{how}"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as connection:
            yield connection
    except Exception as error:  # sqlite3's own, or wrapped by SQLAlchemy
        found = getattr(error, "orig", error)
        if not isinstance(found, sqlite3.DatabaseError) or "locked" in str(found):
            raise
        what = f"the database {address.file} cannot be read ({found})"
        raise Failure(f"{what}: unless its disk is full or failing, {BACKUP}") from error
