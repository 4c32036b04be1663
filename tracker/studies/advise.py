"""With which algorithm to unlearn each of some samples: all are tried, and the best is advised."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from factors.index import is_known
from tracker.store.records import AVERAGED, READ, Finished
from tracker.sweep.plan import REFERENCE, Plan
from tracker.sweep.summary import points_lost
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.outcome import ARRIVED, Status

ADVICE = "advice"  # the study of its sweep, whose name begins with it
ALL_LOST = 100.0  # points; what is ascribed to an attempt that left the finite numbers

Row = dict[str, Any]
TOLD = ("algorithm", "steps", "seconds", "points_lost", "z", "verdict", "run_id")  # of the best

# What is advised, as rows have it.
UNLEARN, TOO_DEAR, NOTHING_DOES = "unlearn", "too dear", "nothing unlearns it"
NEEDLESS = {Status.ALREADY_WRONG: "already wrong", Status.NOTHING_TO_FORGET: "nothing to forget"}


def advise(
    plan: Plan,
    done: Mapping[str, Finished],
    test_accuracy: float,
    max_loss: float,
    path_of: Callable[[int], str | None],
) -> list[Row]:
    """A row for each sample of a plan, in the plan's order: its best attempt, if one arrived.

    Args:
        done: the members of the plan by key. test_accuracy: the base model's.
        max_loss: percentage points of test accuracy that unlearning a sample may cost.
        path_of: gives the file of a sample, where it has one.
    """
    rows = []
    for sample in plan.sample_ids:
        members = ((each.name, done[plan.key(each, sample)]) for each in plan.algorithms)
        tried = sorted((came_to(*each, test_accuracy) for each in members), key=order)
        best, status = tried[0], tried[0]["status"]
        said = NEEDLESS.get(status, NOTHING_DOES)
        if has_arrived := status in ARRIVED:
            said = UNLEARN if best["points_lost"] <= max_loss else TOO_DEAR
        rows.append(
            {
                "sample_id": sample,
                "sample_path": path_of(sample) or "",
                "advice": said,
                **{name: best[name] if has_arrived else None for name in TOLD},
                "tried": [each["algorithm"] for each in tried],
            }
        )
    return rows


def came_to(algorithm: str, member: Finished, test_accuracy: float) -> Row:
    """What an attempt came to; test_accuracy: the base model's.

    `seconds` are of its steps, `verdict` is as in the relation `attempts`.
    """
    metrics = member.metrics
    after, z = metrics.get(AVERAGED["test_accuracy"]), metrics.get(READ["z"])
    beyond = None if z is None else "over_forgotten" if z < 0 else "remembered"
    return {
        "algorithm": algorithm,
        "status": Status(member.status),
        "steps": int(metrics.get(AVERAGED["steps"], 0)),
        "seconds": metrics.get(AVERAGED["elapsed_s"], math.nan),
        "points_lost": ALL_LOST if after is None else points_lost(test_accuracy, after),
        "prob_lost": metrics.get(READ["test_prob_diff"], 1.0),
        "z": z,
        "verdict": "forgotten" if metrics.get(READ["forgotten"]) == 1 else beyond,
        "run_id": member.run_id,
    }


def order(row: Row) -> tuple[bool, float, float, float]:
    """The smaller, the better: what arrived, then what cost the test set less, then time."""
    return row["status"] not in ARRIVED, row["points_lost"], row["prob_lost"], row["seconds"]


def usual(until: str) -> list[str]:
    """The algorithms that are tried where none is named: those that the index knows something of.

    Until the reference, also that which knows where it is to go.
    """

    def is_tried(algorithm: type[Algorithm]) -> bool:  # it does not go back to a step before
        is_fit = is_known(algorithm()) or (until == REFERENCE and algorithm.name == "matching")
        return is_fit and algorithm.regret is Algorithm.regret

    return [name for name, algorithm in algorithms.every().items() if is_tried(algorithm)]
