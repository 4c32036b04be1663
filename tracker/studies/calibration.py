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

Floats = NDArray[np.float64]

LEVEL = 0.9
FEWEST = 20  # residuals from which an interval comes
NEARLY = 0.9  # of all that attempts came to: an interval that spans as much says nothing
DECIMALS = 6  # of steps, so that they are the same after a logarithm and back

Function = Callable[[Floats], Floats]


@dataclass(frozen=True)
class _Scale:
    """On which scale a quantity's residuals are taken, and back."""

    to: Function
    back: Function


def _same(values: Floats) -> Floats:
    return values


# Steps are off by a factor, the others by a difference.
SCALES: Mapping[str, _Scale] = {
    "steps": _Scale(np.log, np.exp),
    "prob_lost": _Scale(_same, _same),
    "points_lost": _Scale(_same, _same),
    "gt": _Scale(_same, _same),
}


def reach(predicted: Floats, measured: Floats, quantity: str) -> float | None:
    """Half the width of the interval of a quantity, on its scale; None of fewer than FEWEST.

    Args:
        predicted, measured: (n,); pairs that are not finite on the scale are left out.
    """
    scale = SCALES[quantity]
    with np.errstate(divide="ignore", invalid="ignore"):
        residuals = np.abs(scale.to(measured) - scale.to(predicted))
    residuals = residuals[np.isfinite(residuals)]
    if len(residuals) < FEWEST:
        return None
    return float(np.sort(residuals)[math.ceil((len(residuals) + 1) * LEVEL) - 1])


def interval(predicted: Floats, half: float | None, quantity: str) -> tuple[Floats, Floats]:
    """Both ends of the interval of each prediction, (K,); NaN where there is none.

    Args:
        half: as `reach` gives it.
    """
    if half is None:
        return np.full_like(predicted, np.nan), np.full_like(predicted, np.nan)
    scale = SCALES[quantity]
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = scale.to(predicted)
        return scale.back(middle - half), scale.back(middle + half)


def is_empty(ends: Sequence[Floats], measured: Floats) -> bool:
    """Whether intervals between two ends, (K,) each, say nothing, the median one: see NEARLY."""
    span = np.ptp(measured[np.isfinite(measured)])
    return bool(np.nanmedian(ends[1] - ends[0]) > NEARLY * span)


def within_budget(found: Mapping[str, Floats], budget: int) -> dict[str, Floats]:
    """What is predicted, with steps that an attempt can take.

    That is no fewer than one, or more than the budget, and whole where it would be but for the last
    bits: an attempt at the very end of an interval lies in it.
    """
    return {
        name: np.clip(np.round(values, DECIMALS), 1, budget) if name.startswith("steps") else values
        for name, values in found.items()
    }
