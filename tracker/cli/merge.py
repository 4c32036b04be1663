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

    from tracker.reading.merging import Brought
    from tracker.reading.sources import Source


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
    from tracker.reading.sources import open_sources

    try:
        with session.failing():
            sources = open_sources(stores, session.address, say)
            _check(sources)
        brought = _merge(session, sources)
    except KeyboardInterrupt:
        raise Failure("stopped; the same command goes on where it stopped") from None
    for each in brought:
        for line in each.said():
            say(line)
    for last in {each.sweep_id: each for each in brought}.values():
        say(last.extent())
    rows = [_row(each) for each in brought]
    show(rows, style, with_short_ids(rows, "sweep_id"))


def _check(sources: Sequence[Source]) -> None:
    from tracker.record.records import Kind

    size = sum(len(source.finished(Kind.MEMBER)) for source in sources)
    with progress("checking", size) as advance:
        for source in sources:
            source.check(say, advance)


def _merge(session: Session, sources: Sequence[Source]) -> list[Brought]:
    from tracker.reading.merging import alone, merge
    from tracker.record.driver import close_stale_sweeps

    size = sum(len(s.members) for source in sources for s in source.sweeps.values())
    with session.store(begins=True) as store, alone(store, sources):
        close_stale_sweeps(store)
        with progress("merging", size) as advance:
            return [each for source in sources for each in merge(store, source, say, advance)]


def _row(brought: Brought) -> dict[str, Any]:
    return {
        "store": brought.source,
        "sweep_id": brought.sweep_id,
        "name": brought.name,
        "new": brought.new,
        "doubled": brought.doubled.count,
        "differing": brought.doubled.differing,
        "finished": brought.finished,
        "planned": brought.planned,
    }
