"""Advice before and after a sweep: on samples that teach nothing, and settings that do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from analysis.statuses import MAX_LOSS
from tracker.store.records import Finished
from tracker.sweep.choosing import misclassified
from tracker.sweep.plan import Plan
from tracker.sweep.summary import EXACT, Summary, accuracies, is_damaged, summed_up
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.outcome import Status

MANY_WRONG = 0.2  # of the samples
FEW_FLIPS = 0.1  # of the attempts
MANY_DAMAGED = 0.2  # of the members that flipped
FLIPPED = (Status.FLIPPED, Status.REWOUND)


def before_sweep(base: BaseModel, sample_ids: Sequence[int]) -> Iterator[str]:
    """A line where the base model misclassifies many of the samples."""
    wrong = len(misclassified(base).intersection(sample_ids))
    if wrong > MANY_WRONG * len(sample_ids):
        yield (
            f"{wrong} of {len(sample_ids)} samples are misclassified by the base model: nothing is "
            "unlearned for those; --only-correct chooses among the others"
        )


def after_sweep(
    plan: Plan, done: Mapping[str, Finished], test_accuracy: float, max_loss: float = MAX_LOSS
) -> Iterator[str]:
    """A line for each algorithm that flips few samples, damages many models, or changes nothing.

    Args:
        done: members by key. test_accuracy: the base model's. max_loss: percentage points of it
            that a flip may cost.
    """
    for algorithm in plan.algorithms:
        keys = (plan.key(algorithm, sample) for sample in plan.sample_ids)
        members = [done[key] for key in keys if key in done]
        tried = [member for member in members if member.status != Status.ALREADY_WRONG]
        flipped = [member for member in tried if member.status in FLIPPED]
        damaged = [m for m in flipped if is_damaged(m, test_accuracy, max_loss)]
        if len(flipped) < FEW_FLIPS * len(tried):
            yield _few_flips(algorithm, tried, len(flipped))
        elif len(damaged) > MANY_DAMAGED * len(flipped):
            after = fmean(accuracies(damaged))
            rewound = sum(member.status == Status.REWOUND for member in flipped)
            back = f" ({rewound} went back to a step before)" if rewound else ""
            yield (
                f"{algorithm.name}: {len(flipped)} of {len(tried)} flipped{back}, {len(damaged)} "
                f"of them damaged (accuracy {100 * test_accuracy:.1f} to {after:.1%}): "
                f"try {_other(algorithm, 'a lower', 'lr')}"
            )
        yield from _unchanged(summed_up(algorithm.name, members, test_accuracy))


def _unchanged(summary: Summary) -> Iterator[str]:
    """That some attempts changed nothing, if not all did: that would have been said."""
    count = summary.unchanged + summary.same_outputs
    if count and summary.unchanged < summary.attempts:
        yield (
            f"{summary.algorithm}: {count} of {summary.attempts} changed nothing, in the weights "
            "or in what comes out: the loss cancels at the start, or the rate is too small"
        )


def _few_flips(algorithm: Algorithm, tried: Sequence[Finished], flipped: int) -> str:
    """That few samples flipped, with a likely reason and a setting to change."""
    lost = sum(member.status == Status.NON_FINITE for member in tried)
    said = f"{algorithm.name}: {flipped} of {len(tried)} flipped"
    if algorithm.is_exact:
        return f"{said}. {EXACT}"
    if all(member.status == Status.UNCHANGED for member in tried):
        return f"{said}, for no weight changed: try {_other(algorithm, 'a higher', 'lr')}"
    if lost > len(tried) / 2:
        lower = _other(algorithm, "a lower", "lr")
        return f"{said}, and {lost} were no longer finite: try {lower}"
    steps = f" within {algorithm.budget} steps" if algorithm.budget > 1 else ""
    return f"{said}{steps}: try {_other(algorithm, 'a higher', 'lr', 'max_steps')}"


def _other(algorithm: Algorithm, how: str, *names: str) -> str:
    """Which settings to change: the named ones if the algorithm has them, else any."""
    settings = algorithm.settings()
    own = [f"{algorithm.name}.{name}" for name in names if name in settings]
    if own:
        return f"{how} {' or '.join(own)}"
    others = [f"{algorithm.name}.{name} ({value})" for name, value in settings.items()]
    return f"other values of {', '.join(others)}" if others else "another algorithm"
