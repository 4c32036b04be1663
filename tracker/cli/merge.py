"""Bring what other stores have into this one."""

from __future__ import annotations

from typing import Any

from tracker.cli._output import progress, show, with_short_ids
from tracker.cli._session import Session, say
from tracker.commands.keep import Merge
from tracker.reading.merging import merge
from tracker.reading.sources import CHILD, open_sources


def run(session: Session, asked: Merge) -> None:
    """Merge stores, after all of them were checked."""
    with session.failing():
        sources = open_sources(asked.stores, session.address, say)
        size = sum(len(source.ids(kind)) for source in sources for kind in CHILD.values())
        with progress("checking", size) as advance:
            for source in sources:
                source.check(say, advance)
    size = sum(len(p.children) for source in sources for p in source.parents.values())
    with session.store(begins=True) as store, progress("merging", size) as advance:
        rows = merge(store, sources, say, advance)
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
