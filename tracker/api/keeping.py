"""What commands do that keep a store: merge others into it, let go of checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracker.api.place import Place
from tracker.commands.keep import Merge, Prune
from tracker.reading import listing, merging, pruning
from tracker.sweep.retention import Retention

Rows = list[dict[str, Any]]


def merge(place: Place, asked: Merge) -> Rows:
    """Bring in what other stores have, after all of them were checked: a row a parent run."""
    with place.failing():
        sources = merging.open_sources(asked.stores, place.address, place.say)
        size = sum(len(source.ids(kind)) for source in sources for kind in merging.CHILD.values())
        with place.progress("checking", size) as advance:
            for source in sources:
                source.check(advance)
    with place.store(begins=True) as store, place.progress("merging", size) as advance:
        return merging.merge(store, sources, place.say, advance)


def prune(place: Place, asked: Prune, agree: Callable[[Rows], None] = lambda rows: None) -> Rows:
    """Delete the checkpoints that no sweep wants: a row each.

    Args:
        agree: is shown what is to go, and raises Failure where it is not to.
    """
    with place.reader() as reader:
        changed = {}
        if asked.sweep is not None and asked.checkpoints is not None:
            policy = Retention.parse(asked.checkpoints)
            changed = {listing.find_sweep(reader, asked.sweep).run_id: policy}
        unwanted = pruning.unwanted(reader, changed)
        agree(unwanted)
        again = pruning.unwanted(reader, changed)  # a sweep may want them by now
        unwanted = [one for one in unwanted if one in again]
        if unwanted or changed:
            with place.store() as store:
                pruning.prune(store, reader, [one["run_id"] for one in unwanted], changed)
    return unwanted
