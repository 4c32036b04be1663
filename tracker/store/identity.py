"""A store is a database and a folder that know each other: by an id that both carry.

The id stands in a file of the folder and in a tag of each experiment; both are written at the
store's first use. They tell a store that was copied or moved from a folder with the database of
another store in it, whose artifacts would look like leftovers.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from analysis.atomic import write_atomically
from tracker.store.addresses import DATABASE, Address, is_same_file
from tracker.store.files import FOLDER, local_path
from unlearning.errors import UserError

FILE = "store.json"
TAG = "indelible.store"  # of an experiment
LOCATIONS = (  # tables with URIs of artifacts, and their columns
    *(("experiments", "artifact_location"), ("runs", "artifact_uri")),
    ("logged_models", "artifact_location"),
)


class Experiment(NamedTuple):
    """An experiment of ours: where its artifacts are, and its store's id."""

    location: str
    store: str | None


class Mark(NamedTuple):
    """What a folder says of itself: the id of its store, and where it was when that was written."""

    store: str
    folder: str


def verify(address: Address, experiments: Sequence[Experiment]) -> str | None:
    """The id of the store; None where it has none yet.

    Raises UserError where database and folder do not belong together.
    """
    folder, mark = address.folder, read_mark(address.folder)
    original = Path(mark.folder) if mark else folder
    if address.is_embedded and original.exists() and not is_same_file(folder, original):
        for part in (FOLDER, DATABASE):
            if is_same_file(folder / part, original / part):
                raise UserError(
                    f"{folder / part} is also that of the store in {original}, by a link: what is "
                    "done here would be done there. Give this store a copy of its own"
                )
    ids = [e.store for e in experiments if e.store]
    known = mark.store if mark and (mark.store in ids or not ids) else next(iter(ids), None)
    if not any(path.is_dir() for path in (folder / FOLDER).glob("*/*")):
        return known  # it may be any store's
    if not experiments:
        raise UserError(
            f"{address.shown} knows nothing of the runs whose artifacts are in {folder / FOLDER}: "
            "put the database there that belongs to them, or name another folder with --store DIR"
        )
    if mark and mark.store in ids:
        return known
    paths = [path for e in experiments if (path := local_path(e.location))]
    is_here = any(is_same_file(path.parent, folder / FOLDER) for path in paths)
    if (mark and ids) or not (is_here or moved(address, experiments)):
        raise UserError(
            f"the folder {folder} belongs to another store than {address.shown}: "
            "name a folder of its own with --store DIR"
        )
    return known


def read_mark(folder: Path) -> Mark | None:
    """What the folder says of itself. Raises UserError if that is not what this tool writes."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        return Mark(*(str(content[name]) for name in Mark._fields))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read as what this tool writes: delete it, and it is written anew "
            "if the database belongs to the folder"
        ) from error


def claim(folder: Path, store: str | None) -> str:
    """Write a store's id and place into its folder; the id, a new one if there was none.

    Two processes that begin a store at the same moment get the same id.
    """
    mark = Mark(store or uuid.uuid4().hex, str(folder))
    if read_mark(folder) != mark:
        content = f"{json.dumps(mark._asdict())}\n".encode()
        write_atomically(folder / FILE, content, replace=store is not None)
    written = read_mark(folder)
    assert written
    return written.store


def moved(address: Address, experiments: Sequence[Experiment]) -> list[str]:
    """The URIs, in the database of an embedded store that was moved, of its folder of artifacts."""
    here, mark = address.folder / FOLDER, read_mark(address.folder)
    before, roots = Path(mark.folder) / FOLDER if mark else None, dict[str, None]()
    for experiment in experiments if address.is_embedded else ():
        path = local_path(experiment.location)
        if path is None or is_same_file(path.parent, here):
            continue
        if path.parent == before or (here / path.name).is_dir():
            roots[experiment.location.rstrip("/").rpartition("/")[0]] = None
    return list(roots)


def repoint(address: Address, roots: Sequence[str]) -> None:
    """Replace these URIs of artifacts in an embedded database by that of its own folder."""
    assert address.file is not None
    new = (address.folder / FOLDER).as_uri()
    with closing(sqlite3.connect(address.file, timeout=20)) as connection, connection:
        for table, column in LOCATIONS:
            connection.executemany(
                f"update {table} set {column} = ? || substr({column}, ?) "  # noqa: S608 - our words
                f"where substr({column}, 1, ?) = ?",
                [(new, len(root) + 1, len(root) + 1, f"{root}/") for root in roots],
            )
