"""Members that are done again: what they keep of those they replace, and how they compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import factors
from tracker.store import records
from tracker.store.records import (
    AVERAGED,
    FIRST_BEGAN,
    NOTE,
    Finished,
    Known,
    Record,
)
from tracker.store.views import TAG as DIFFICULTY
from tracker.store.weights import FILE_TAGS
from tracker.sweep.plan import Plan

# Tags that say what was, beside those of a new record.
OUTDATED = {"kind", DIFFICULTY, records.HISTORIES, records.KEPT_STEP, records.MEASURED_AT}
STEPS = AVERAGED["steps"]


def is_the_same(before: Known, record: Record) -> bool:
    """Whether a member came to the weights that its run already has.

    Where no checkpoint was wanted the run has no digest of its weights. Then the steps and the
    final values of the curves have to be equal.
    """
    if (sha256 := before.tags.get("weights_sha256")) is not None:
        return sha256 == record.tags["weights_sha256"]
    return before.metrics.get(STEPS) == record.metrics.get(STEPS) and all(
        before.metrics.get(point.key) == point.value for point in record.final
    )


def with_additions(record: Record, before: Known, measured: Iterable[str]) -> Record:
    """A member with what people added to the run that it replaces: tags, metrics and a note.

    It also says when the first attempt began.

    Args:
        measured: the metrics that are its factors.
    """
    own_tags = {*OUTDATED, *FILE_TAGS, *record.tags} - {NOTE}
    tags = {
        name: value
        for name, value in before.tags.items()
        if name == NOTE or not (name in own_tags or name.startswith("mlflow."))
    }
    tags[FIRST_BEGAN] = str(records.first_began(before.started_ms, before.tags))
    own, details = {*measured, *factors.HISTORIES}, f"{record.params['algorithm']}/"
    metrics = {
        name: value
        for name, value in before.metrics.items()
        if name not in own and not name.startswith(details)
    }
    return replace(record, tags={**record.tags, **tags}, metrics={**record.metrics, **metrics})


def done_again(before: Mapping[str, Finished], after: Mapping[str, Finished], plan: Plan) -> str:
    """How members that were done again compare with what they were."""
    pairs = [(before[key], after[key]) for key in plan.keys() & before.keys()]
    same = [a.status == b.status and a.metrics.get(STEPS) == b.metrics.get(STEPS) for a, b in pairs]
    gts = [(a.metrics.get("gt"), b.metrics.get("gt")) for a, b in pairs]
    apart = [abs(a - b) for a, b in gts if a is not None and b is not None]
    return (
        f"{len(pairs)} members done again: {sum(same)} with the same status and steps as before, "
        f"GT apart by {max(apart, default=0.0):.1g} at most"
    )
