"""Relearning by hand."""

import math

import pytest
import torch

from tests.oracles.factors import relearning
from tests.oracles.loops import Data, Task
from tests.oracles.small_models import pixels, two_weights


def the_same(step: int, slot: int) -> Data:
    """Pixel 1 of class 0: a step of Adam raises w0 and lowers w1 by the rate."""
    return pixels(1.0)[None], torch.tensor([0])


@pytest.mark.parametrize(
    ("base_phi", "reference_phi", "budget", "steps", "known"),
    [
        (1.0, 1.0, 9, math.nan, math.nan),
        (1.0, 1.001, 9, math.nan, math.nan),
        (3.0, -1.0, 9, 0, 1),  # the model's own phi is 1
        (1.001, 1.0, 9, 3, 1),  # after steps of 2e-4: 1.0002, 1.0004, 1.0006
        (1.001, 1.0, 2, 2, 0),
        (1.001, 1.0, 3, 3, 1),
    ],
)
def test_steps_to_the_middle_by_hand(
    base_phi: float, reference_phi: float, budget: int, steps: float, known: float
) -> None:
    task = Task(two_weights(), pixels(1.0), 0, the_same)
    given = task, base_phi, reference_phi, budget
    for of in (relearning.relearn_steps, relearning.control_relearn_steps):
        assert of(*given) == pytest.approx(steps, rel=0, abs=0, nan_ok=True)
    for of in (relearning.relearned, relearning.control_relearned):
        assert of(*given) == pytest.approx(known, rel=0, abs=0, nan_ok=True)
    assert torch.equal(*(next(model.parameters()) for model in (task.base, two_weights())))
