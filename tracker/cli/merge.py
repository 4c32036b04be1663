"""Bring what other stores have into this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracker.cli._options import format_option
from tracker.cli._output import progress, show, with_short_ids
from tracker.cli._session import Session, pass_session, say
from unlearning.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.reading.merging import Source


@click.command()
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@format_option
@pass_session
def command(session: Session, stores: tuple[str, ...], style: str) -> None:
    """Bring what other stores have into this one.

    That is base models, sweeps, predictions, unlearnings and tunings; the names that models have in
    MLflow's registry stay behind. Each STORE is a folder that was --store elsewhere, such as that
    of a share of a sweep. Nothing is written into it. Runs are known by their keys: what is here
    already stays as it is, and the same command called again goes on where it stopped, or does
    nothing. One process at a time merges into a store. Times, users and notes stay what they were.
    Before anything is written all stores are checked, and one that is damaged is refused.

    A sweep of which all attempts are here is finished; with others 'indelible sweep' goes on.

    \b
    Example:
      indelible merge shard-1 shard-2 shard-3 shard-4
    """
    from tracker.reading.merging import open_sources

    try:
        with session.failing():
            sources = open_sources(stores, session.address, say)
            _check(sources)
        rows = _merge(session, sources)
    except KeyboardInterrupt:
        raise Failure("stopped; the same command goes on where it stopped") from None
    for row in rows:
        if row["differing"]:
            say(
                f"{_named(row)}: {row['differing']} of {row['doubled']} child runs that were here "
                f"already have other numbers or weights in {row['store']}; what was here is kept"
            )
    for row in {row["run_id"]: row for row in rows}.values():
        say(f"{_named(row)}: {row['finished']} of {row['planned']} child runs are here")
    show(rows, style, with_short_ids(rows, "run_id"))


def _named(row: dict[str, Any]) -> str:
    return f"{row['kind']} {row['name']} ({row['run_id']})"


def _check(sources: Sequence[Source]) -> None:
    from tracker.reading.merging import CHILD

    size = sum(len(source.ids(kind)) for source in sources for kind in CHILD.values())
    with progress("checking", size) as advance:
        for source in sources:
            source.check(advance)


def _merge(session: Session, sources: Sequence[Source]) -> list[dict[str, Any]]:
    from tracker.reading.merging import merge

    size = sum(len(p.children) for source in sources for p in source.parents.values())
    with session.store(begins=True) as store, progress("merging", size) as advance:
        return merge(store, sources, say, advance)
