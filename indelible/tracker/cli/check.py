"""Is the store whole?"""

from __future__ import annotations

import click

from indelible.errors import Failure
from indelible.tracker.cli._options import format_option
from indelible.tracker.cli._output import show
from indelible.tracker.cli._session import Session, pass_session
from indelible.tracker.cli.load import load


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended, and look again.")
@format_option
@pass_session
def command(session: Session, repair: bool, style: str) -> None:
    """Look for runs that are not whole, and print a row for each offence.

    Child runs without a sweep, finished without metrics, twice under one key, or half written;
    artifacts that are missing or damaged, or belong to no run; a GT that does not follow from its
    F and U; a warehouse behind the store. Exit code 1 if there is any.

    --repair discards such runs (the same sweep does them again), removes folders that belong to
    no run, and loads the warehouse.

    \b
    Example:
      indelible check --repair
    """
    from indelible.tracker import checking

    def offences() -> list[dict[str, str]]:
        with session.source() as source:
            found = checking.check(source, session.folder, session.warehouse_path)
        return found.records()

    found = offences()
    if repair and found:
        with session.store() as store:
            if discarded := checking.repair(found, store):
                click.echo(f"{discarded} runs discarded: their sweep does them again", err=True)
        load(session, deep=True)
        found = offences()
    if found or style != "table":
        show(found, style)
    if found:
        raise Failure(f"{len(found)} {'offence' if len(found) == 1 else 'offences'} found")
    click.echo("everything is whole", err=True)
