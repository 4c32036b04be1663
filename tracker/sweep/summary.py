"""What the attempts of a sweep came to, an algorithm each: flips, damage, cost; and advice on it.

The report `summary` of the warehouse says the same of a sweep that was loaded; this is what is
known when a sweep ends, before anything is loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from analysis.words import MAX_LOSS
from tracker.store.records import AVERAGED, READ, Finished
from tracker.sweep.choosing import misclassified
from tracker.sweep.plan import Plan
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.outcome import FLIPPED, Status

MANY_WRONG = 0.2  # of the samples
FEW_FLIPS = 0.1  # of the attempts
MANY_DAMAGED = 0.2  # of the members that flipped

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
    damaged = _damaged(flipped, test_accuracy, max_loss)
    accuracy = AVERAGED["test_accuracy"]
    lost = [points_lost(test_accuracy, after) for after in _values(tried, accuracy)]
    return Summary(
        algorithm=algorithm,
        attempts=len(tried),
        flipped=len(flipped),
        damaged=len(damaged),
        unchanged=sum(member.status == Status.UNCHANGED for member in tried),
        same_outputs=sum(map(_has_same_outputs, tried)),
        accuracy=_mean(_values(tried, accuracy)),
        flipped_accuracy=_mean(_values(flipped, accuracy)),
        damaged_accuracy=_mean(_values(damaged, accuracy)),
        mean_lost=_mean(lost),
        worst_lost=max(lost, default=None),
        steps=_mean(_values(tried, AVERAGED["steps"])),
        seconds=_mean(_values(tried, AVERAGED["elapsed_s"])),
        gap=_mean(_values(tried, READ["unlearning_gap"])),
    )


def points_lost(before: float, after: float) -> float:
    """How much test accuracy fell, in percentage points, without what rounding adds."""
    return round(100 * (before - after), 9)


def aggregates(
    planned: Mapping[str, Iterable[str]], done: Mapping[str, Finished], test_accuracy: float
) -> dict[str, float]:
    """Metrics of the parent run: for each algorithm counts, the flip rate, means and damage.

    The flip rate is over the samples that the base model gets right, and so are the points of test
    accuracy that were lost. A mean over no value is left out. What counts as damage is always
    MAX_LOSS here, so that sweeps can be compared.

    Args:
        planned: the keys of members by the names of algorithms.
        test_accuracy: the base model's.
    """
    metrics: dict[str, float] = {}
    for algorithm, keys in planned.items():
        members = [done[key] for key in keys if key in done]
        counts = Counter(member.status for member in members)
        summary = summed_up(algorithm, members, test_accuracy)
        attempts, flipped = summary.attempts, summary.flipped
        found: dict[str, float | None] = {
            "flip_rate": flipped / attempts if attempts else None,
            **{status: counts[status] for status in Status},
            **{f"mean_{name}": _mean(_values(members, m)) for name, m in AVERAGED.items()},
            "damaged": summary.damaged,
            "same_outputs": summary.same_outputs,
            "mean_points_lost": summary.mean_lost,
            "worst_points_lost": summary.worst_lost,
            "mean_unlearning_gap": summary.gap,
        }
        metrics |= {f"{algorithm}/{n}": float(v) for n, v in found.items() if v is not None}
    return metrics


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
        damaged = _damaged(flipped, test_accuracy, max_loss)
        if len(flipped) < FEW_FLIPS * len(tried):
            yield _few_flips(algorithm, tried, len(flipped))
        elif len(damaged) > MANY_DAMAGED * len(flipped):
            after = fmean(_values(damaged, AVERAGED["test_accuracy"]))
            rewound = sum(member.status == Status.REWOUND for member in flipped)
            back = f" ({rewound} went back to a step before)" if rewound else ""
            yield (
                f"{algorithm.name}: {len(flipped)} of {len(tried)} flipped{back}, {len(damaged)} "
                f"of them damaged (accuracy {100 * test_accuracy:.1f} to {after:.1%}): "
                f"try {_other(algorithm, 'a lower', 'lr')}"
            )
        still = [member.status == Status.UNCHANGED for member in tried]
        count = sum(still) + sum(map(_has_same_outputs, tried))
        if count and not all(still):  # else that is said above
            yield (
                f"{algorithm.name}: {count} of {len(tried)} changed nothing, in the weights or in "
                "what comes out: the loss cancels at the start, or the rate is too small"
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
    if own := [f"{algorithm.name}.{name}" for name in names if name in settings]:
        return f"{how} {' or '.join(own)}"
    others = [f"{algorithm.name}.{name} ({value})" for name, value in settings.items()]
    return f"other values of {', '.join(others)}" if others else "another algorithm"


def _damaged(members: Iterable[Finished], test_accuracy: float, max_loss: float) -> list[Finished]:
    """Those members that lost more test accuracy than they may."""
    name = AVERAGED["test_accuracy"]
    known = (member for member in members if name in member.metrics)
    return [m for m in known if points_lost(test_accuracy, m.metrics[name]) > max_loss]


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
