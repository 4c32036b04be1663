"""With which algorithm to unlearn each of some samples: predicted first, then tried where it pays.

Every algorithm is predicted for every sample. Of each sample those are tried that look best, then
the next best while none of them has flipped it within the limit. What was tried before, in any
sweep, is found by its key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from factors.index import is_known
from tracker.store.records import AVERAGED, READ, Finished
from tracker.studies.predicting import Prediction
from tracker.sweep.plan import Plan
from tracker.sweep.planning import advice_name
from tracker.sweep.summary import points_lost
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.outcome import Status

LIKELY = 0.5  # probability of a flip from which on an algorithm is expected to do it
ALL_LOST = 100.0  # points; what is ascribed to an attempt that left the finite numbers

Attempt = Callable[[Plan], Mapping[str, Finished]]  # a sweep, and its members by key


@dataclass(frozen=True)
class Expected:
    """What is predicted of an algorithm on a sample; NaN where nothing is."""

    flips: float
    points_lost: float
    prob_lost: float

    @property
    def order(self) -> tuple[bool, bool, float, float]:
        """The smaller, the better: what is likely to flip, then what costs the test set less."""
        if math.isnan(self.points_lost):
            return True, True, 0.0, 0.0
        return False, self.flips < LIKELY, self.points_lost, self.prob_lost


@dataclass(frozen=True)
class Tried:
    """What an attempt came to.

    Attributes:
        seconds: of its steps. points_lost: of test accuracy, percentage points. prob_lost: the fall
            of the mean probability of the true label on the test set.
    """

    algorithm: str
    run_id: str
    status: Status
    steps: int
    seconds: float
    points_lost: float
    prob_lost: float

    @classmethod
    def of(cls, algorithm: str, member: Finished, test_accuracy: float) -> Tried:
        """A member that is in the store. test_accuracy: the base model's."""
        metrics = member.metrics
        after = metrics.get(AVERAGED["test_accuracy"])
        return cls(
            algorithm,
            member.run_id,
            Status(member.status),
            int(metrics.get(AVERAGED["steps"], 0)),
            metrics.get(AVERAGED["elapsed_s"], math.nan),
            ALL_LOST if after is None else points_lost(test_accuracy, after),
            metrics.get(READ["test_prob_diff"], 1.0),
        )

    def fulfils(self, max_loss: float) -> bool:
        """Whether the sample flipped at no higher price."""
        return self.status == Status.FLIPPED and self.points_lost <= max_loss

    @property
    def order(self) -> tuple[bool, float, float, float]:
        """The smaller, the better: what flipped, then what cost the test set less, then time."""
        return self.status != Status.FLIPPED, self.points_lost, self.prob_lost, self.seconds


@dataclass(frozen=True)
class Advice:
    """What is known of a sample in the end.

    Attributes:
        tried: the attempts, the best first; none where the base model is wrong on it.
        expected: what was predicted, by algorithm.
    """

    sample_id: int
    tried: tuple[Tried, ...]
    expected: Mapping[str, Expected]

    @property
    def best(self) -> Tried | None:
        """The attempt that flipped it at the lowest price; None where none did."""
        first = self.tried[0] if self.tried else None
        return first if first is not None and first.status == Status.FLIPPED else None

    def is_fulfilled(self, max_loss: float) -> bool:
        """Whether some attempt flipped it at no higher price."""
        return any(one.fulfils(max_loss) for one in self.tried)

    @property
    def was_wrong(self) -> bool:
        """Whether there is nothing to unlearn: the base model is wrong on it."""
        return any(one.status == Status.ALREADY_WRONG for one in self.tried)


def advise(
    plan: Plan,
    prediction: Prediction,
    test_accuracy: float,
    attempt: Attempt,
    tries: int,
    max_loss: float,
) -> list[Advice]:
    """The advice for each sample of a plan, in the plan's order.

    Args:
        prediction: of this plan. test_accuracy: the base model's. attempt: runs a sweep.
        tries: algorithms that are tried on each sample in any case.
        max_loss: percentage points of test accuracy that a flip may cost.
    """
    expected = _expected(plan, prediction)
    order = {sample: _best_first(of) for sample, of in expected.items()}
    tried: dict[int, list[Tried]] = {sample: [] for sample in plan.sample_ids}

    def advice(sample: int) -> Advice:
        best_first = sorted(tried[sample], key=lambda one: one.order)
        return Advice(sample, tuple(best_first), expected[sample])

    for turn in range(len(plan.algorithms)):
        open_ = [
            sample
            for sample in plan.sample_ids
            if turn < tries or not advice(sample).is_fulfilled(max_loss)
        ]
        open_ = [sample for sample in open_ if not advice(sample).was_wrong]
        for part in _parts(plan, {sample: order[sample][turn] for sample in open_}):
            done = attempt(part)
            (algorithm,) = part.algorithms
            for sample in part.sample_ids:
                member = done[part.key(algorithm, sample)]
                tried[sample].append(Tried.of(algorithm.name, member, test_accuracy))
    return [advice(sample) for sample in plan.sample_ids]


def _expected(plan: Plan, prediction: Prediction) -> dict[int, dict[str, Expected]]:
    """What is predicted, by sample and algorithm."""
    expected: dict[int, dict[str, Expected]] = {sample: {} for sample in plan.sample_ids}
    names = ("flips", "points_lost", "prob_lost")
    for row in prediction.predicted.rows.to_pylist():
        numbers = (math.nan if row[name] is None else float(row[name]) for name in names)
        expected[row["sample_id"]][row["algorithm"]] = Expected(*numbers)
    return expected


def _best_first(expected: Mapping[str, Expected]) -> list[str]:
    return sorted(expected, key=lambda name: expected[name].order)


def _parts(plan: Plan, chosen: Mapping[int, str]) -> Iterator[Plan]:
    """A plan for each algorithm, of the samples that it was chosen for."""
    for algorithm in plan.algorithms:
        samples = tuple(sample for sample, name in chosen.items() if name == algorithm.name)
        if samples:
            yield _part(plan, algorithm, samples)


def _part(plan: Plan, algorithm: Algorithm, samples: Sequence[int]) -> Plan:
    name = advice_name(algorithm.name, len(samples), len(plan.sample_ids))
    return replace(plan, algorithms=(algorithm,), sample_ids=tuple(samples), name=name)


def predictable() -> list[str]:
    """The algorithms that flip samples, of which the index knows something."""

    def flips(algorithm: type[Algorithm]) -> bool:  # and does not go back to a step before
        return algorithm.regret is Algorithm.regret and is_known(algorithm())

    return [name for name, algorithm in algorithms.every().items() if flips(algorithm)]


def as_row(advice: Advice, path: str | None, max_loss: float) -> dict[str, Any]:
    """All that is known of a sample, as a row to print.

    Args:
        path: of its file, where it has one. max_loss: points of test accuracy that a flip may cost.
    """
    best = advice.best
    expected = advice.expected.get(best.algorithm) if best else None
    file = f"{advice.sample_id:05d}.safetensors"
    row: dict[str, Any] = {"sample_id": advice.sample_id, "sample_path": path or ""}
    if best is None:
        nothing = "already wrong" if advice.was_wrong else "nothing flips it"
        row |= {"algorithm": None, "steps": None, "seconds": None, "points_lost": None}
        row |= {"predicted_points_lost": None, "advice": nothing, "run_id": None, "restore": None}
    else:
        row |= {
            "algorithm": best.algorithm,
            "steps": best.steps,
            "seconds": best.seconds,
            "points_lost": best.points_lost,
            "predicted_points_lost": _number(expected.points_lost) if expected else None,
            "advice": "unlearn" if best.fulfils(max_loss) else "too dear",
            "run_id": best.run_id,
            "restore": f"indelible restore {best.run_id} --output {file}",
        }
    return row | {"tried": [one.algorithm for one in advice.tried]}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
