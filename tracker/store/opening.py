"""The ways into a store: to write into it, and to read from it.

Before MLflow opens a database it is looked at by plain SQL: whether it is there at all, whether it
belongs to the folder, whether it was moved, and whether this MLflow and its schema fit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.store import identity
from tracker.store.addresses import Address
from tracker.store.artifacts import local_path
from tracker.store.database import Contents, look
from tracker.store.patience import LIMIT_S, Patience
from tracker.store.readers import ClientReader, DatabaseReader, Reader
from unlearning.errors import UserError

if TYPE_CHECKING:
    from tracker.store.store import Store

Say = Callable[[str], None]

READ_DIRECTLY = ("sqlite", "postgresql")  # other stores are read by MLflow's client


def quietly(line: str) -> None:
    """Say nothing."""


def open_reader(
    folder: Path,
    tracking_uri: str | None = None,
    say: Say = quietly,
    limit_s: float = LIMIT_S,
) -> Reader:
    """The store of a tracking URI, or the folder's own, to read from. Nothing is made or migrated.

    Args:
        say: is told, a line each, what is waited for or was found. limit_s: how long a store that
            does not answer is waited for.

    Raises UserError where there is no store, or another than the folder's.
    """
    address, patience = _address(folder, tracking_uri, say, limit_s)
    if address.dialect not in READ_DIRECTLY:
        return ClientReader(_open(address, patience, say, begins=False))
    _settle(address, _look(address, patience, begins=False), say)
    return DatabaseReader(address, patience)


def open_store(
    folder: Path,
    tracking_uri: str | None = None,
    say: Say = quietly,
    limit_s: float = LIMIT_S,
    begins: bool = True,
) -> Store:
    """The store to write into: in bulk if it is a database of a known schema.

    Args as of `open_reader`; `begins` says whether a store may come into being by it.

    Raises UserError also where the folder cannot be written, or where the database's schema is
    not the one of the MLflow that is installed.
    """
    address, patience = _address(folder, tracking_uri, say, limit_s)
    if begins:
        _make(address.folder)
    store = _open(address, patience, say, begins)
    if known := store.experiments():
        _make(address.folder)  # of a server's store it may be new on this machine
        store.claim(known)
    return store


def _address(
    folder: Path, tracking_uri: str | None, say: Say, limit_s: float
) -> tuple[Address, Patience]:
    address = Address.of(folder, tracking_uri).patient(min(limit_s, 10))
    return address, Patience(address.shown, limit_s, say)


def _open(address: Address, patience: Patience, say: Say, begins: bool) -> Store:
    if address.is_server:
        from tracker.store.store import Store

        store = Store(address, patience)
        store.store_id = identity.verify(address, store.identities())
        return store
    contents = _look(address, patience, begins)
    store_id = _settle(address, contents, say)
    if address.is_read_only:
        raise UserError(f"the database {address.file} is in a folder that cannot be written")
    _fit(address, contents, say)
    if contents.revision is None:
        from tracker.store.schema import begin

        say(f"setting up a store in {address.folder} ...")
        begin(address)
    return _database(say)(address, patience, store_id)


def _look(address: Address, patience: Patience, begins: bool) -> Contents:
    """What is in the database. Raises UserError where there is no store, if none may begin."""
    contents = look(address, patience)
    if contents.revision is None and not begins:
        where = address.folder if address.is_embedded else address.shown
        raise UserError(
            f"there is no store in {where}: 'indelible train' begins one, or 'indelible demo'"
        )
    return contents


def _settle(address: Address, contents: Contents, say: Say) -> str | None:
    """The store's id. The database of a store that was moved is told where its artifacts are."""
    store_id = identity.verify(address, contents.experiments)
    roots = identity.moved(address, contents.experiments)
    if roots and not address.is_read_only:
        identity.repoint(address, roots)
        identity.claim(address.folder, store_id)
        before = ", ".join(map(_path, roots))
        say(f"the store in {address.folder} was in {before} before: its database knows it now")
    return store_id


def _path(root: str) -> str:
    path = local_path(root)
    return str(path.parent) if path else root


def _make(folder: Path) -> None:
    """Make the folder of a store, or say why it cannot be one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"the store '{folder}' cannot be written ({error.strerror}): "
            "name a folder that can with --store DIR"
        ) from error


def _fit(address: Address, contents: Contents, say: Say) -> None:
    """Check that MLflow and the database's schema fit; bring an embedded one up to date."""
    from mlflow import __version__ as version

    from tracker.store.schema import latest_revision, upgrade

    latest, known = latest_revision(contents.revision)
    if contents.revision in (None, latest):
        return
    both = f"{address.shown} has the schema {contents.revision}, MLflow {version} here has {latest}"
    if not known:
        raise UserError(f"{both}: it was written by a newer MLflow, install that here too")
    if not address.is_embedded:
        raise UserError(
            f"{both}: it was written by an older MLflow; install that here, or let whoever runs it "
            "bring it up to date with 'mlflow db upgrade', which locks older versions out"
        )
    kept = upgrade(address)
    if kept is not None:
        say(f"{both}: it is brought up to date, and what it was is kept as {kept}")


def _database(say: Say) -> type[Store]:
    """How a database is written: in bulk, if its tables are those that this was tested with."""
    from mlflow import __version__ as version

    from tracker.store.bulk import SqlStore
    from tracker.store.rows import untested_schema
    from tracker.store.store import Store

    difference = untested_schema()
    if difference is None:
        return SqlStore
    say(
        f"MLflow {version} has a schema that the bulk writer was not tested with "
        f"({difference}): MLflow's client is used, which is slower"
    )
    return Store
