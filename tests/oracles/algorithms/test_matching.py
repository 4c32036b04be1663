"""Matching by hand."""

import dataclasses
import math

import pytest

from tests.oracles.algorithms import matching
from tests.oracles.loops import Data
from tests.oracles.small_models import (
    class_one,
    linear,
    pair,
    pixel_one,
    retain_two,
    sgd,
    sigmoid,
    weights,
)


def retain_black(step: int, slot: int) -> Data:
    """Pixel 0, of which no weight is a cause."""
    return class_one(0.0)


def test_until_the_flip_by_hand() -> None:
    # phi of pixel 1 is d = w0 - w1, at first 1, and that of one guess of two classes 0: within 1,
    # the distance has the gradient d (1, -1). Retain: x = 2, class 1, 2 sigmoid(2 d) (1, -1).
    task = pixel_one(retain=retain_two)
    d, steps = 1.0, 0
    while d > 0:
        d -= 2 * 0.1 * (2 * sigmoid(2 * d) + 0.5 * d)
        steps += 1
    result = matching.unlearn(task, weight=0.5, **sgd(0.1, 9))
    assert weights(result.model) == pytest.approx(pair(d))
    assert (result.status, result.steps, steps) == ("flipped", 3, 3)


def test_one_guess_of_three_classes_by_hand() -> None:
    # phi is w0 - log(e^w1 + e^w2) with the gradient (1, -1/2, -1/2). From w = (.5, 0, 0) it is .5
    # above one guess, -log 2, and 2 (1, -1/2, -1/2) / 2 is the gradient at weight 2.
    task = pixel_one(linear([[0.5], [0.0], [0.0]]), retain_black)
    result = matching.unlearn(task, weight=2.0, **sgd(0.1, 1))
    assert weights(result.model) == pytest.approx([0.4, 0.05, 0.05])


def test_until_a_target_by_hand() -> None:
    # The target is -.5. At d = 1 the distance is 1.5 with the slope 1, so that d falls by 2 * .6 to
    # -.2; there it is .3 with the slope .3, and the step to -.56 is shortened to end at -.5.
    task = dataclasses.replace(pixel_one(retain=retain_black), target=-0.5)
    result = matching.unlearn(task, weight=1.0, **sgd(0.6, 9))
    assert (result.status, result.steps) == ("at_reference", 2)
    assert weights(result.model) == pytest.approx(pair(-0.5), abs=0.36 / 2**12)
    assert result.forget_losses[1] == pytest.approx(math.log(1 + math.exp(0.2)))
