"""Which child runs of a large sweep are the hardest and the easiest, as tags.

MLflow finds runs by a tag at once, but takes minutes to sort many by a metric: of a large sweep its
pages are shown the hardest only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tracker.store.records import AVERAGED, Finished

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tracker.store.write import Store

LARGE = 5000  # members from which on a sweep is not sorted by MLflow: it takes seconds for these
COUNT = 100  # members of each algorithm that are tagged at either end
TAG = "indelible.difficulty"  # of a member, with one of the two
HARDEST, EASIEST = "hardest", "easiest"
TAGGED = "indelible.tagged_by_difficulty"  # the tag of a sweep with tagged members, with COUNT


def is_large(members: int) -> bool:
    """Whether MLflow would take too long to sort the child runs of a sweep by a metric."""
    return members > LARGE


def size_of(sweep: Run) -> int:
    """How many members a sweep has planned."""
    params = sweep.data.params
    return int(params.get("samples", 0)) * len(params.get("algorithms", "").split(","))


def tag_members(
    store: Store, sweep_id: str, planned: Mapping[str, Iterable[str]], done: Mapping[str, Finished]
) -> None:
    """Tag those of a large sweep's own child runs that have the lowest and the highest GT.

    Args:
        planned: the keys of members by the names of algorithms.
    """
    if not is_large(size_of(store.run(sweep_id))):
        return
    tags: dict[str, str] = {}
    for keys in planned.values():
        own = (done[key] for key in keys if key in done and done[key].sweep_id == sweep_id)
        known = [m for m in own if not math.isnan(m.metrics.get(AVERAGED["gt"], math.nan))]
        ids = [m.run_id for m in sorted(known, key=lambda m: (m.metrics[AVERAGED["gt"]], m.run_id))]
        tags |= dict.fromkeys(ids[-COUNT:], EASIEST) | dict.fromkeys(ids[:COUNT], HARDEST)
    store.retag(sweep_id, TAG, tags)
    store.client.set_tag(sweep_id, TAGGED, str(COUNT))
