"""Check a store, and repair it."""

from __future__ import annotations

import math
from typing import Any

import click

from tracker.cli._options import confirm, format_option, refuse, yes_option
from tracker.cli._output import show
from tracker.cli._session import Session, pass_session, say
from tracker.cli.load import load
from unlearning.errors import Failure


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended, and look again.")
@yes_option
@click.option(
    "--at-most",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Of the store that --repair may take away.",
)
@format_option
@pass_session
def command(session: Session, repair: bool, yes: bool, at_most: float, style: str) -> None:
    """Look for runs that are not whole, and print a row for each offence.

    A damaged database; child runs without a sweep, finished without metrics, twice under one key,
    or half written; artifacts on this machine that are missing or damaged, or belong to no run; a
    GT that does not follow from its F and U; a warehouse behind the store. Exit code 1 if there is
    any.

    --repair lists what it would do and asks. It deletes such runs in MLflow (the same sweep does
    them again), deletes files that belong to no run, and loads the warehouse.

    \b
    Example:
      indelible check --repair
    """
    if not repair:
        refuse(["yes", "at_most"], "without --repair")
    from analysis import warehouse

    offences = _offences(session)
    if repair and offences and offences[0]["audit"] != "database":
        _repair(session, offences, yes, at_most)
        offences = _offences(session)
    if offences or style != "table":
        show(offences, style)
    if offences:
        raise Failure(f"{len(offences)} {'offence' if len(offences) == 1 else 'offences'} found")
    if warehouse.is_of_another_version(session.warehouse_path):
        say("the warehouse was made by another version: 'indelible load' makes it anew")
    say("everything is whole")


def _offences(session: Session) -> list[dict[str, Any]]:
    from tracker.reading import checking
    from tracker.store.database import check_pages

    with session.reader() as reader:
        try:
            check_pages(session.address)
        except Failure as damage:
            row = {"audit": "database", "run_id": None, "name": None}
            return [row | {"offence": str(damage), "repair": "none"}]
        return checking.check(reader, session.folder, session.warehouse_path).records()


def _repair(session: Session, offences: list[dict[str, Any]], yes: bool, at_most: float) -> None:
    """Do what the offences ask for, after it was listed and agreed to."""
    from tracker.reading.checking import Repair

    repair = Repair.of(offences)
    if repair:
        with session.reader() as reader:
            share = repair.share(reader, session.folder)
        names = {row["run_id"]: row["name"] for row in offences}
        confirm(
            [f"delete run {names[run_id]} ({run_id})" for run_id in repair.discard]
            + [f"delete {path}" for path in repair.remove]
            + [f"forget {tag} of {names[run_id]} ({run_id})" for run_id, tag in repair.forget],
            yes,
            stop=""
            if share <= at_most
            else f"this is {share:.0%} of the store, more than {at_most:.0%}: see first that its "
            f"folder is whole; --at-most {math.ceil(share * 100) / 100:g} does it all the same",
        )
        repair &= Repair.of(_offences(session))  # while the user thought it over, much can happen
        with session.store() as store:
            repair.do(store)
    load(session, deep=True)
