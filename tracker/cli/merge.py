"""Bring what other stores have into this one."""

from __future__ import annotations

from typing import Any

from tracker.cli._output import show, with_short_ids
from tracker.cli._session import Session, say
from tracker.commands.keep import Merge


def merged(session: Session, asked: Merge, rows: list[dict[str, Any]]) -> None:
    """What there is now of each parent run."""
    for row in {row["run_id"]: row for row in rows}.values():
        name = f"{row['kind']} {row['name']} ({row['run_id']})"
        say(f"{name}: {row['finished']} of {row['planned']} child runs are here")
    show(rows, asked.style, with_short_ids(rows, "run_id"))
