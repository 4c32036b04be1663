"""Boundary shrink by hand.

Pixels (0.5, 0.5) have logits (1, 0.9, -0.5, -2.5): class 0, runner-up 1. The gradient of CE(x, 0)
is p1 (w1 - w0) + p2 (w2 - w0) + p3 (w3 - w0) = p1 (-0.5, 0.3) + p2 (-4, 1) + p3 (-7, 0), of sign
(-1, 1). At (0, 1), where epsilon = 0.5 leads, the logits are (0, 0.3, 1, 0): class 2.
"""

import numpy as np
import pytest
import torch

from tests.oracles.algorithms import boundary_shrink
from tests.oracles.algorithms.boundary_shrink import nearest_class
from tests.oracles.loops import Result, Task
from tests.oracles.small_models import linear, pixel_one, pixels, sgd, weights

FOUR_CLASSES = [[2.0, 0.0], [1.5, 0.3], [-2.0, 1.0], [-5.0, 0.0]]


def test_nearest_class_by_hand() -> None:
    base = linear(FOUR_CLASSES)
    image = pixels(0.5, 0.5)
    assert nearest_class(base, image, 0, 0.5) == 2
    # Without the clamp epsilon = 2 would lead to (-1.5, 2.5) and logits (-3, -1.5, 5.5, 7.5).
    assert nearest_class(base, image, 0, 2.0) == 2
    # At (0.49, 0.51): (0.98, 0.888, ...), still class 0, so the runner-up.
    assert nearest_class(base, image, 0, 0.01) == 1
    assert torch.equal(image, pixels(0.5, 0.5))
    assert not image.requires_grad
    assert all(parameter.grad is None for parameter in base.parameters())


def test_nearest_class_takes_the_first_of_equal_runners_up() -> None:
    # One pixel 0.5, which epsilon 0.1 moves to 0.4: no flip. Logits (-0.5, -0.5, 0.5, -0.5).
    base = linear([[-1.0], [-1.0], [1.0], [-1.0]])
    assert nearest_class(base, pixels(0.5), 2, 0.1) == 0
    # Logits (0.5, -0.5, -1, -0.5).
    base = linear([[1.0], [-1.0], [-2.0], [-1.0]])
    assert nearest_class(base, pixels(0.5), 0, 0.1) == 1


def run_boundary(task: Task, epsilon: float, steps: int) -> Result:
    """Boundary shrink by plain SGD at lr 0.1."""
    return boundary_shrink.unlearn(task, epsilon=epsilon, **sgd(0.1, steps))


@pytest.mark.parametrize(("epsilon", "target"), [(0.5, 2), (0.01, 1)])
def test_boundary_shrink_by_hand(epsilon: float, target: int) -> None:
    # The gradient of CE(x, y') for row k is (p_k - [k = y']) x. lr 0.1, at most three steps.
    x, w = np.array([0.5, 0.5]), np.array(FOUR_CLASSES)
    result = run_boundary(Task(linear(FOUR_CLASSES), pixels(0.5, 0.5), 0), epsilon, 3)
    for _ in range(result.steps):
        p = np.exp(w @ x) / np.exp(w @ x).sum()
        w = w - 0.1 * np.outer(p - np.eye(4)[target], x)
    assert result.details == {"relabel_target": target}
    assert weights(result.model) == pytest.approx(w.flatten().tolist())
    # A step moves logits k and y' together by 0.1 |x|^2 (p_k - p_y' + 1), |x|^2 = 0.5. Classes 0
    # and 1 are 0.1 apart, with p0 - p1 below 0.1: two steps of 0.05 and more. Class 2 is 1.5 away.
    expected = ("flipped", 2) if target == 1 else ("max_steps", 3)
    assert (result.status, result.steps) == expected


def test_boundary_shrink_already_wrong() -> None:
    result = run_boundary(pixel_one(linear([[0.0], [1.0]])), 0.1, 3)
    assert (result.status, result.steps, result.details) == ("already_wrong", 0, {})
