"""Keep a store: load it into the warehouse, check and repair it, prune checkpoints."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from tracker.api import keeping
from tracker.api.answers import Rows, check
from tracker.cli._output import escaped, show, with_short_ids
from tracker.cli._session import Session, say
from tracker.commands.keep import Check, Load, Prune
from tracker.reading.checking import DISCARD, REMOVE, repair, repairable, share
from unlearning.errors import Failure
from unlearning.naming import counted

LISTED = 20  # changes that are listed one by one


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


def checked(session: Session, asked: Check, problems: Rows) -> None:
    """Print what is wrong with the store, and repair it if that is asked for."""
    if asked.repair and problems and problems[0]["audit"] != "database":
        _repair(session, problems, asked)
        problems = check(session, asked)
    if problems or asked.style != "table":
        show(problems, asked.style)
    if problems:
        raise Failure(f"{counted(len(problems), 'problem')} found")
    say("everything is whole")


def _repair(session: Session, problems: Rows, asked: Check) -> None:
    """Do what the problems ask for, after it was listed and agreed to."""
    wanted = repairable(problems)
    if wanted:
        with session.reader() as reader:
            part = share(wanted, reader, session.folder)
        stop = (
            f"this is {part:.0%} of the store, more than {asked.at_most:.0%}: see first that its "
            f"folder is whole; --at-most {math.ceil(part * 100) / 100:g} does it all the same"
        )
        confirm([*map(_deed, wanted)], asked.yes, stop if part > asked.at_most else "")
        now = check(session, asked)  # while the user thought it over
        with session.store() as store:
            repair(store, [row for row in wanted if row in now])
    load(session, Load(deep=True))


def _deed(row: Mapping[str, Any]) -> str:
    """What the repair of a problem does."""
    if row["repair"] == REMOVE:
        return f"delete {row['name']}"
    what = "delete run" if row["repair"] == DISCARD else f"{row['repair']} of"
    return f"{what} {row['name']} ({row['run_id']})"


def prune(session: Session, asked: Prune) -> None:
    """List the checkpoints that no sweep wants, and delete them."""

    def agree(rows: keeping.Rows) -> None:
        show(rows, asked.style, with_short_ids(rows, "run_id"))
        if rows:
            size = sum(row["bytes"] or 0 for row in rows) / 1e6
            confirm([f"delete {len(rows)} checkpoints, {size:.1f} MB"], asked.yes)

    say(f"{len(keeping.prune(session, asked, agree))} checkpoints deleted")


def confirm(deeds: Sequence[str], yes: bool, stop: str = "") -> None:
    """List on stderr what is to be done, and ask whether to do it, if a terminal can answer.

    Args:
        yes: do not ask. stop: why it is not to be done in any case; empty if it may be.

    Raises Failure where it is not to be done.
    """
    for deed in deeds[:LISTED]:
        say(f"  {escaped(deed)}")
    if len(deeds) > LISTED:
        say(f"  ... and {len(deeds) - LISTED} more")
    if stop:
        raise Failure(f"nothing was changed: {stop}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure("nothing was changed: --yes does what is listed above")
    if not click.confirm("Do this?", err=True):
        raise Failure("nothing was changed")
