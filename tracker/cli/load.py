"""Load a store into the warehouse, which needs neither torch nor MLflow."""

from __future__ import annotations

from tracker.cli._output import Session, say
from tracker.commands.keep import Load
from unlearning.errors import Failure


def load(session: Session, asked: Load) -> None:
    """Bring the warehouse up to date and say what was read."""
    loaded = session.load(asked.deep)
    changes = loaded.changes
    said = f"{len(changes.read)} runs read"
    if gone := set(changes.forget) - set(changes.read):
        said += f", {len(gone)} forgotten"
    say(f"{said if changes else 'nothing new'}: {session.warehouse_path}")
    if loaded.lost:
        raise Failure(
            f"{len(loaded.lost)} sweeps, predictions or unlearnings have lost their file: what "
            "was in it is not in the warehouse"
        )
