"""NegGrad by hand."""

import math

import pytest
import torch

from tests.oracles.algorithms import neggrad
from tests.oracles.loops import Data
from tests.oracles.small_models import pixel_one, pixels, retain_two, sgd, sigmoid, weights


def test_neggrad_by_hand() -> None:
    # Retain: x = 2, class 1, so 1 - q = sigmoid(2) and the gradient is 2 sigmoid(2) (1, -1).
    # Forget: x = 1, class 0, gradient q (-1, 1) with q = 1 - sigmoid(1).
    # alpha 0.75, lr 0.1: w0 falls by 0.1 (0.75 * 2 sigmoid(2) + 0.25 q), w1 rises by as much.
    result = neggrad.unlearn(pixel_one(retain=retain_two), alpha=0.75, **sgd(0.1, 1))
    move = 0.1 * (0.75 * 2 * sigmoid(2) + 0.25 * (1 - sigmoid(1)))
    assert weights(result.model) == pytest.approx([1 - move, move])


def test_non_finite_later_keeps_the_last_finite_step() -> None:
    def retain(step: int, slot: int) -> Data:
        return pixels(math.nan if step == 2 else 0.5).unsqueeze(0), torch.tensor([0])

    task = pixel_one(retain=retain)
    bad, one = (neggrad.unlearn(task, alpha=0.5, **sgd(0.01, most)) for most in (9, 1))
    assert (bad.status, bad.steps) == ("non_finite", 1)
    assert weights(bad.model) == weights(one.model)
    assert bad.forget_probs == one.forget_probs
