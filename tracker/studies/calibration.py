"""Intervals of predictions, from how far the index was off on attempts that are in the store.

Split conformal prediction (Lei et al. 2018, Journal of the American Statistical Association 113):
the interval is the prediction plus and minus the k-th smallest of n absolute residuals, with
k = ceil((n + 1) LEVEL). It holds an attempt on another sample with a probability of LEVEL at least,
if that sample is drawn as those were whose attempts gave the residuals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker.base.base_models import BaseRun
from tracker.store.records import AVERAGED, READ
from tracker.store.write import Store
from tracker.sweep.choosing import draw_samples
from tracker.sweep.plan import Plan
from unlearning.algorithm import Algorithm
from unlearning.outcome import ARRIVED, Status

MOST = 1000  # samples of a base model whose attempts give residuals
UNMEASURED = (Status.ALREADY_WRONG, Status.NOTHING_TO_FORGET, Status.NON_FINITE)
LEVEL = 0.9  # of the intervals
FEWEST = 20  # residuals that give an interval
NEARLY = 0.9  # of the range of attempts: an interval that spans as much says nothing
DECIMALS = 6  # of steps, so that they are the same after a logarithm and back

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]

# On which scale residuals are taken, and back: steps are off by a factor, others by a difference.
SCALES: Mapping[str, tuple[Function, Function]] = {
    "steps": (np.log, np.exp),
    **dict.fromkeys(("prob_lost", "points_lost", "gt"), (np.array, np.array)),
}


@dataclass(frozen=True)
class Attempted:
    """Attempts of one algorithm that came to something; of many some.

    Attributes:
        keys, sample_ids: of the attempts.
        outcomes: `steps`, `prob_lost`, `points_lost`, `gt`, and whether each `flips`, or arrives
            where it is to end, (n,) each.
        samples: all that were attempted, these and more.
    """

    keys: list[str]
    sample_ids: list[int]
    outcomes: Mapping[str, Floats]
    samples: frozenset[int]


def attempted(store: Store, base_run: BaseRun, plan: Plan, algorithm: Algorithm) -> Attempted:
    """What is in the store of an algorithm, done as the plan wants it.

    Of more than MOST samples some are drawn. A member that came to nothing is left out: its base
    model was wrong, there was nothing to forget, or a step was not finite.
    """
    members = store.finished_members([plan.digest(algorithm)])
    sample_of = {key: int(key.rpartition("-")[2]) for key in members}
    done = sorted(key for key, member in members.items() if member.status not in UNMEASURED)
    ids = sorted({sample_of[key] for key in done})
    drawn = {*draw_samples(ids, min(MOST, len(ids)), 0)}
    keys = [key for key in done if sample_of[key] in drawn]

    def measured(metric: str) -> Floats:
        return np.array([members[key].metrics.get(metric, np.nan) for key in keys])

    test_accuracy = measured(AVERAGED["test_accuracy"])
    outcomes = {
        "steps": measured(AVERAGED["steps"]),
        "prob_lost": measured(READ["test_prob_diff"]),
        "points_lost": 100 * (base_run.test_accuracy - test_accuracy),
        "gt": measured(AVERAGED["gt"]),
        "flips": np.array([float(members[key].status in ARRIVED) for key in keys]),
    }
    ids = [sample_of[key] for key in keys]
    return Attempted(keys, ids, outcomes, frozenset(sample_of.values()))


def reach(predicted: Floats, measured: Floats, quantity: str) -> float | None:
    """Half the width of the interval of a quantity, on its scale; None of fewer than FEWEST.

    Args:
        predicted, measured: (n,); pairs that are not finite on the scale are left out.
    """
    to, _ = SCALES[quantity]
    with np.errstate(divide="ignore", invalid="ignore"):
        residuals = np.abs(to(measured) - to(predicted))
    residuals = residuals[np.isfinite(residuals)]
    if len(residuals) < FEWEST:
        return None
    return float(np.sort(residuals)[math.ceil((len(residuals) + 1) * LEVEL) - 1])


def interval(
    predicted: Floats, half: float | None, quantity: str, budget: int
) -> tuple[Floats, Floats]:
    """Both ends of the interval of each prediction, (K,); NaN where there is none.

    Steps are no fewer than one, or more than the budget, and whole where they would be but for the
    last bits: an attempt at the very end of an interval lies in it.

    Args:
        half: as `reach` gives it.
    """
    to, back = SCALES[quantity]
    half = np.nan if half is None else half
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = back(to(predicted) - half), back(to(predicted) + half)
    if quantity != "steps":
        return low, high
    low, high = (np.clip(np.round(end, DECIMALS), 1, budget) for end in (low, high))
    return low, high


def is_empty(ends: Sequence[Floats], measured: Floats) -> bool:
    """Whether intervals between two ends, (K,) each, say nothing, the median one: see NEARLY."""
    span = np.ptp(measured[np.isfinite(measured)])
    return bool(np.nanmedian(ends[1] - ends[0]) > NEARLY * span)
