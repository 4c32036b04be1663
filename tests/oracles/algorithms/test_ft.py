"""Fine-tuning by hand."""

import pytest
from torch import nn

from tests.oracles.algorithms import ft
from tests.oracles.loops import Data, Result, Retain
from tests.oracles.small_models import (
    class_one,
    linear,
    pair,
    pixel_one,
    retain_nan,
    retain_two,
    sgd,
    sigmoid,
    two_weights,
    weights,
)


def run_ft(base: nn.Module, retain: Retain, lr: float, steps: int) -> Result:
    """Fine-tuning by plain SGD, pixel 1 of class 0 forgotten."""
    return ft.unlearn(pixel_one(base, retain), **sgd(lr, steps))


def test_ft_by_hand() -> None:
    # Pixel 2 of class 1: gradient 2 sigmoid(2 d) u, so d <- d - 2 lr 2 sigmoid(2 d).
    # lr 0.2: 1 -> 0.29536 -> -0.21946, flipped at step 2.
    d1 = 1 - 0.8 * sigmoid(2)
    d2 = d1 - 0.8 * sigmoid(2 * d1)
    assert (d1, d2) == pytest.approx((0.29536, -0.21946), abs=1e-5)
    base = two_weights()
    result = run_ft(base, retain_two, 0.2, 9)
    assert (result.status, result.steps) == ("flipped", 2)
    assert weights(result.model) == pytest.approx(pair(d2))
    assert result.forget_probs == pytest.approx([sigmoid(1), sigmoid(d1), sigmoid(d2)])
    assert weights(base) == [1.0, 0.0]


def test_ft_means_over_the_batch_and_asks_for_slot_0_of_each_step() -> None:
    # Pixels 2 and 0 of class 1: the second has no gradient, so the mean is half of the first's.
    asked = []

    def retain(step: int, slot: int) -> Data:
        asked.append((step, slot))
        return class_one(2.0, 0.0)

    result = run_ft(two_weights(), retain, 0.2, 1)
    assert weights(result.model) == pytest.approx(pair(1 - 0.4 * sigmoid(2)))
    run_ft(two_weights(), retain, 0.0, 2)
    assert asked == [(1, 0), (1, 0), (2, 0)]


def test_ft_ends() -> None:
    assert run_ft(two_weights(), retain_two, 0.0, 3).status == "max_steps"
    wrong = run_ft(linear([[0.0], [1.0]]), retain_two, 0.1, 3)
    assert (wrong.status, wrong.steps, len(wrong.forget_probs)) == ("already_wrong", 0, 1)
    broken = run_ft(two_weights(), retain_nan, 0.1, 3)
    assert (broken.status, broken.steps) == ("non_finite", 0)
    assert weights(broken.model) == [1.0, 0.0]
