"""Load the MLflow store into the DuckDB warehouse."""

from __future__ import annotations

import click

from tracker.cli._session import Session, pass_session
from unlearning.errors import Failure


@click.command()
@click.option("--deep", is_flag=True, help="Read everything again, edited tags too.")
@pass_session
def command(session: Session, deep: bool) -> None:
    """Load what changed in MLflow since the last load into the DuckDB warehouse.

    MLflow is the record: the warehouse can be deleted at any time and comes back the same.

    \b
    Example:
      indelible load && indelible correlate
    """
    load(session, deep)


def load(session: Session, deep: bool = False) -> None:
    """Bring the warehouse up to date and say what was read."""
    with session.reader() as reader:
        from tracker.reading import loading

        session.folder.mkdir(parents=True, exist_ok=True)  # of a store that is elsewhere
        loaded = loading.load(reader, session.warehouse_path, deep, session.store_id)
    changes = loaded.changes
    said = f"{len(changes.read)} runs read"
    if gone := set(changes.forget) - set(changes.read):
        said += f", {len(gone)} forgotten"
    click.echo(f"{said if changes else 'nothing new'}: {session.warehouse_path}", err=True)
    for said in loaded.lost.values():
        click.echo(said, err=True)
    if loaded.lost:
        raise Failure(
            f"{len(loaded.lost)} sweeps, predictions or unlearnings have lost their file: of them "
            "the warehouse has what it had"
        )
