"""A base model, with all that is kept beside it, as a store of its own."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from mlflow import MlflowClient

from tracker.access import identity
from tracker.access.addresses import Address
from tracker.access.database import look
from tracker.access.patience import Patience
from tracker.reading.bringing import bring_base
from tracker.record.opening import open_store
from tracker.record.readers import Reader
from tracker.record.records import Kind
from tracker.record.store import Store
from tracker.record.whole import Whole, whole_runs
from unlearning import naming
from unlearning.errors import UserError


def export(reader: Reader, reference: str, folder: Path) -> Whole:
    """Write a base model into a new store in a folder that is empty or not there; what it is.

    The images of its samples are left out: a sweep writes those that it needs. The folder is whole,
    or it is as it was.

    Args:
        reference: the base model's name, id or the beginning of its id, or `latest`.

    Raises UserError where there is no such model, or where the folder is not empty or can be no
    store; Damaged where the model is.
    """
    run = _found(reader, reference)
    _refuse_full(folder)
    Address.of(folder)  # raises where no store can be
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.absolute().with_name(f".indelible-{secrets.token_hex(8)}.draft")
    try:
        store = open_store(draft)
        bring_base(store, reader.artifacts, run)
        _close_connections(store)
        try:
            draft.replace(folder)
        except OSError:
            _refuse_full(folder)  # another process may have filled it meanwhile
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _settle(folder)
    return run


def _close_connections(store: Store) -> None:
    """Close what MLflow keeps open of a store's database, which is to be moved."""
    MlflowClient(store.address.uri)._tracking_client.store.engine.dispose()


def _found(reader: Reader, reference: str) -> Whole:
    runs = [run for run in reader.of_kind(Kind.BASE_MODEL) if run.status == "FINISHED"]
    if not runs:
        raise UserError("there is no base model in this store yet: run 'indelible train' first")
    named = [(run.run_id, run.name) for run in runs]
    run_id = naming.find(reference, named, "base model", "'indelible models' lists them")
    (found,) = whole_runs(reader, reader.runs(), [run_id])
    return found


def _refuse_full(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} is there, and not an empty folder: name one that is not there")


def _settle(folder: Path) -> None:
    """Tell the database of a store that was moved where it is, as opening it does."""
    address = Address.of(folder)
    contents = look(address, Patience(address.shown))
    store_id = identity.verify(address, contents.experiments)
    identity.repoint(address, identity.moved(address, contents.experiments))
    identity.claim(address.folder, store_id)
