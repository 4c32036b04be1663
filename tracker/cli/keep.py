"""Keep a store: check and repair, prune, merge, restore."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from safetensors.torch import save

from analysis.atomic import make_folder, write_atomically
from tracker.api import checking, keeping
from tracker.api.answers import Rows
from tracker.cli._output import Session, escaped, say, show, with_short_ids
from tracker.cli.load import load
from tracker.commands.keep import Check, Load, Merge, Prune, Restore
from tracker.reading.checking import DISCARD, REMOVE, repair, repairable, share
from tracker.reading.listing import member_of
from tracker.store.weights import restore as restored
from unlearning.checkpoints import as_pickled
from unlearning.errors import Failure, UserError
from unlearning.naming import counted

LISTED = 20  # changes that are listed one by one


def check(session: Session, asked: Check, problems: Rows) -> None:
    """Print what is wrong with the store, and repair it if that is asked for."""
    if asked.repair and problems and problems[0]["audit"] != "database":
        _repair(session, problems, asked)
        problems = checking.check(session, asked)
    if problems or asked.style != "table":
        show(problems, asked.style)
    if problems:
        raise Failure(f"{counted(len(problems), 'problem')} found")
    say("no problem found")


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
        now = checking.check(session, asked)  # while the user thought it over
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

    def agree(rows: Rows) -> None:
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
    if not stop and not yes and not sys.stdin.isatty():
        stop = "--yes does what is listed above"
    if stop or not (yes or click.confirm("Do this?", err=True)):
        raise Failure(f"nothing was changed{': ' if stop else ''}{stop}")


def merge(session: Session, asked: Merge, rows: Rows) -> None:
    """What there is now of each parent run."""
    for row in {row["run_id"]: row for row in rows}.values():
        name = f"{row['kind']} {row['name']} ({row['run_id']})"
        say(f"{name}: {row['finished']} of {row['planned']} child runs are here")
    show(rows, asked.style, with_short_ids(rows, "run_id"))


def restore(session: Session, asked: Restore) -> None:
    """Write a file for each run: by the name of the run where there are several."""
    output = asked.output
    if len(asked.runs) == 1 and output.is_dir():
        raise UserError(f"--output {output} is a folder: of one run give the name of a file")
    with session.reader() as reader:
        found = list(dict.fromkeys(member_of(reader, run) for run in asked.runs))
        paths = {found[0]: output}
        if len(asked.runs) > 1:
            make_folder(output)
            named = {run_id: re.sub(r"[^\w-]+", "-", reader.run(run_id).name) for run_id in found}
            paths = {one: output / f"{name}-{one}.safetensors" for one, name in named.items()}
        for run_id, path in paths.items():
            state = restored(reader, run_id)
            write_atomically(path, as_pickled(state) if path.suffix == ".pt" else save(dict(state)))
            say(f"wrote {path}")
