"""MLflow to DuckDB."""

from __future__ import annotations

import click

from indelible.tracker.cli._session import Session, pass_session


@click.command()
@pass_session
def command(session: Session) -> None:
    """Load all runs from MLflow into the DuckDB warehouse.

    MLflow is the record: the warehouse can be deleted at any time and comes back the same.

    \b
    Example:
      indelible load && indelible correlate
    """
    with session.store() as store:
        from indelible.tracker.loading import load

        count = load(store, session.warehouse_path)
    click.echo(f"loaded {count} runs into {session.warehouse_path}", err=True)
