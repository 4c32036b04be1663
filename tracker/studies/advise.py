"""With which algorithm to unlearn each of some samples: predicted first, then tried where it pays.

Every algorithm is predicted for every sample. Of each sample those are tried that look best, then
the next best while none of them has flipped it within the limit. What was tried before, in any
sweep, is found by its key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from factors.index import is_known
from tracker.commands.make import advice_name
from tracker.store.records import AVERAGED, READ, Finished
from tracker.studies.predicted import Prediction
from tracker.sweep.plan import Plan
from tracker.sweep.summary import points_lost
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.outcome import Status

LIKELY = 0.5  # probability of a flip from which on an algorithm is expected to do it
ALL_LOST = 100.0  # points; what is ascribed to an attempt that left the finite numbers

Attempt = Callable[[Plan], Mapping[str, Finished]]  # a sweep, and its members by key


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

    @property
    def order(self) -> tuple[bool, float, float, float]:
        """The smaller, the better: what flipped, then what cost the test set less, then time."""
        return self.status != Status.FLIPPED, self.points_lost, self.prob_lost, self.seconds


@dataclass
class Advice:
    """What is known of a sample.

    Attributes:
        max_loss: percentage points of test accuracy that a flip may cost.
        expected: the rows of its prediction by algorithm, what looks best first: what is likely to
            flip, then what costs the test set less; what nothing is known of comes last.
        tried: the attempts, the best first.
    """

    sample_id: int
    max_loss: float
    expected: dict[str, dict[str, Any]] = field(default_factory=dict)
    tried: list[Tried] = field(default_factory=list)

    @property
    def best(self) -> Tried | None:
        """The attempt that flipped it at the lowest price; None where none did."""
        return next((one for one in self.tried if one.status == Status.FLIPPED), None)

    @property
    def is_fulfilled(self) -> bool:
        """Whether some attempt flipped it at no higher price than it may cost."""
        return self.best is not None and self.best.points_lost <= self.max_loss

    @property
    def was_wrong(self) -> bool:
        """Whether there is nothing to unlearn: the base model is wrong on it."""
        return any(one.status == Status.ALREADY_WRONG for one in self.tried)

    def row(self, path: str | None) -> dict[str, Any]:
        """All that is known of it, as a row to print. path: of its file, where it has one."""
        best, file = self.best, f"{self.sample_id:05d}.safetensors"
        if best is None:
            said = "already wrong" if self.was_wrong else "nothing flips it"
        else:
            said = "unlearn" if self.is_fulfilled else "too dear"
        return {
            "sample_id": self.sample_id,
            "sample_path": path or "",
            "algorithm": best and best.algorithm,
            "steps": best and best.steps,
            "seconds": best and best.seconds,
            "points_lost": best and best.points_lost,
            "predicted_points_lost": best and self.expected[best.algorithm]["points_lost"],
            "advice": said,
            "run_id": best and best.run_id,
            "restore": best and f"indelible restore {best.run_id} --output {file}",
            "tried": [one.algorithm for one in self.tried],
        }


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

    def looks(row: Mapping[str, Any]) -> tuple[Any, ...]:
        if None in (row["points_lost"], row["prob_lost"]):
            return (True,)
        is_unlikely = row["flips"] is not None and row["flips"] < LIKELY
        return False, is_unlikely, row["points_lost"], row["prob_lost"]

    found = {sample: Advice(sample, max_loss) for sample in plan.sample_ids}
    for row in sorted(prediction.rows.to_pylist(), key=looks):
        found[row["sample_id"]].expected[row["algorithm"]] = row
    for turn in range(len(plan.algorithms)):
        chosen = {
            sample: [*one.expected][turn]
            for sample, one in found.items()
            if not one.was_wrong and (turn < tries or not one.is_fulfilled)
        }
        for algorithm in plan.algorithms:
            samples = tuple(sample for sample, name in chosen.items() if name == algorithm.name)
            if not samples:
                continue
            name = advice_name(algorithm.name, len(samples), len(plan.sample_ids))
            part = replace(plan, algorithms=(algorithm,), sample_ids=samples, name=name)
            done = attempt(part)
            for sample in samples:
                member = done[part.key(algorithm, sample)]
                found[sample].tried.append(Tried.of(algorithm.name, member, test_accuracy))
                found[sample].tried.sort(key=lambda one: one.order)
    return [*found.values()]


def predictable() -> list[str]:
    """The algorithms that flip samples, of which the index knows something."""

    def flips(algorithm: type[Algorithm]) -> bool:  # and does not go back to a step before
        return algorithm.regret is Algorithm.regret and is_known(algorithm())

    return [name for name, algorithm in algorithms.every().items() if flips(algorithm)]
