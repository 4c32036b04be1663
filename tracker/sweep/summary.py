"""What the attempts of a sweep came to, an algorithm each: flips, damage, cost.

The report `summary` of the warehouse says the same of a sweep that was loaded; this is what is
known when a sweep ends, before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from analysis.statuses import MAX_LOSS
from tracker.store.records import AVERAGED, READ, Finished
from unlearning.outcome import Status

# Why the reference looks bad by GT; of an algorithm that is exact.
EXACT = (
    "It is exact unlearning, the reference: a model that never saw a sample mostly gets it right "
    "all the same, so it seldom flips, F is small, and GT ranks it as the hardest"
)


@dataclass(frozen=True)
class Summary:
    """What the attempts with one algorithm came to. A number that nothing is known of is None.

    Attributes:
        attempts: those that were run: not of a sample that the base model misclassifies.
        flipped: how many flipped, and kept the weights of the flip. damaged: how many of these
            lost more test accuracy than they may.
        unchanged: how many kept all weights. same_outputs: how many others changed none of the
            mean probabilities by which GT is measured.
        accuracy: mean test accuracy after an attempt. flipped_accuracy, damaged_accuracy: of those
            that flipped, or that are damaged.
        mean_lost, worst_lost: of test accuracy, in percentage points.
        steps, seconds, gap: means over the attempts; gap: the factor `unlearning_gap`.
    """

    algorithm: str
    attempts: int
    flipped: int
    damaged: int
    unchanged: int
    same_outputs: int
    accuracy: float | None
    flipped_accuracy: float | None
    damaged_accuracy: float | None
    mean_lost: float | None
    worst_lost: float | None
    steps: float | None
    seconds: float | None
    gap: float | None


def summed_up(
    algorithm: str, members: Iterable[Finished], test_accuracy: float, max_loss: float = MAX_LOSS
) -> Summary:
    """What these members of one algorithm came to.

    Args:
        test_accuracy: the base model's. max_loss: percentage points that a flip may cost.
    """
    tried = [member for member in members if member.status != Status.ALREADY_WRONG]
    flipped = [member for member in tried if member.status == Status.FLIPPED]
    damaged = [m for m in flipped if is_damaged(m, test_accuracy, max_loss)]
    lost = [points_lost(test_accuracy, after) for after in accuracies(tried)]
    return Summary(
        algorithm=algorithm,
        attempts=len(tried),
        flipped=len(flipped),
        damaged=len(damaged),
        unchanged=sum(member.status == Status.UNCHANGED for member in tried),
        same_outputs=sum(map(_has_same_outputs, tried)),
        accuracy=_mean(accuracies(tried)),
        flipped_accuracy=_mean(accuracies(flipped)),
        damaged_accuracy=_mean(accuracies(damaged)),
        mean_lost=_mean(lost),
        worst_lost=max(lost, default=None),
        steps=_mean(_values(tried, AVERAGED["steps"])),
        seconds=_mean(_values(tried, AVERAGED["elapsed_s"])),
        gap=_mean(_values(tried, READ["unlearning_gap"])),
    )


def is_damaged(member: Finished, test_accuracy: float, max_loss: float) -> bool:
    """Whether a member lost more test accuracy than it may."""
    after = member.metrics.get(AVERAGED["test_accuracy"])
    return after is not None and points_lost(test_accuracy, after) > max_loss


def points_lost(before: float, after: float) -> float:
    """How much test accuracy fell, in percentage points, without what rounding adds."""
    return round(100 * (before - after), 9)


def accuracies(members: Iterable[Finished]) -> list[float]:
    """The test accuracies of those members that have one."""
    return _values(members, AVERAGED["test_accuracy"])


def _has_same_outputs(member: Finished) -> bool:
    """Whether the weights moved, but neither part of GT did: U is 1 and F is 0.

    What left the finite numbers did move, though the weights from before that are kept.
    """
    if member.status in (Status.UNCHANGED, Status.NON_FINITE):
        return False
    forget, test = (member.metrics.get(READ[n]) for n in ("forget_prob_diff", "test_prob_diff"))
    return forget == 0 and test is not None and 1 - test == 1


def _values(members: Iterable[Finished], metric: str) -> list[float]:
    return [member.metrics[metric] for member in members if metric in member.metrics]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
