"""Bring what other stores have into this one."""

from __future__ import annotations

from typing import Any

from tracker.cli._output import show, with_short_ids
from tracker.cli._session import Session, say
from tracker.commands.keep import Merge


def merged(session: Session, asked: Merge, rows: list[dict[str, Any]]) -> None:
    """What there is now of each parent run, and what differs."""
    for row in rows:
        if row["differing"]:
            say(
                f"{_named(row)}: {row['differing']} of {row['doubled']} child runs that were here "
                f"already have other numbers or weights in {row['store']}; what was here is kept"
            )
    for row in {row["run_id"]: row for row in rows}.values():
        say(f"{_named(row)}: {row['finished']} of {row['planned']} child runs are here")
    show(rows, asked.style, with_short_ids(rows, "run_id"))


def _named(row: dict[str, Any]) -> str:
    return f"{row['kind']} {row['name']} ({row['run_id']})"
