"""Members that are done again: what they keep of those they replace, and how they compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import factors
from tracker.store.extremes import TAG as DIFFICULTY
from tracker.store.records import (
    AVERAGED,
    FIRST_BEGAN,
    HISTORIES,
    KEPT_STEP,
    MEASURED_AT,
    NOTE,
    Finished,
    Record,
    first_began,
)
from tracker.store.records import Known as Logged
from tracker.store.weights import FILE_TAGS
from tracker.sweep.plan import Plan


def is_the_same(before: Logged, record: Record) -> bool:
    """Whether a member came to the weights that its run already has.

    Where no checkpoint was wanted the run has no digest of its weights. Then the steps and the
    final values of the curves have to be equal.
    """
    sha256: str | None = before.tags.get("weights_sha256")
    if sha256 is not None:
        return sha256 == record.tags["weights_sha256"]
    steps = AVERAGED["steps"]
    return before.metrics.get(steps) == record.metrics.get(steps) and all(
        before.metrics.get(point.key) == point.value for point in record.final
    )


def with_additions(record: Record, before: Logged, measured: Iterable[str]) -> Record:
    """A member with what people added to the run that it replaces: tags, metrics and a note.

    It also says when the first attempt began.

    Args:
        measured: the metrics that are its factors.
    """
    own = {"kind", DIFFICULTY, HISTORIES, KEPT_STEP, MEASURED_AT, *FILE_TAGS, *record.tags} - {NOTE}
    tags = {
        name: value
        for name, value in before.tags.items()
        if name == NOTE or not (name in own or name.startswith("mlflow."))
    }
    own_metrics = {*measured, *factors.HISTORIES}
    prefix = f"{record.params['algorithm']}/"
    metrics = {
        name: value
        for name, value in before.metrics.items()
        if not (name in own_metrics or name.startswith(prefix))
    }
    tags[FIRST_BEGAN] = str(first_began(before.started_ms, before.tags))
    return replace(record, tags={**record.tags, **tags}, metrics={**record.metrics, **metrics})


def done_again(before: Mapping[str, Finished], after: Mapping[str, Finished], plan: Plan) -> str:
    """How members that were done again compare with what they were."""
    pairs = [(before[key], after[key]) for key in sorted(plan.keys() & before.keys())]
    same = [one.status == other.status and _steps(one) == _steps(other) for one, other in pairs]
    gts = [(one.metrics.get("gt"), other.metrics.get("gt")) for one, other in pairs]
    apart = [abs(a - b) for a, b in gts if a is not None and b is not None]
    return (
        f"{len(pairs)} members done again: {sum(same)} with the same status and steps as before, "
        f"GT apart by {max(apart, default=0.0):.1g} at most"
    )


def _steps(member: Finished) -> float | None:
    return member.metrics.get(AVERAGED["steps"])
