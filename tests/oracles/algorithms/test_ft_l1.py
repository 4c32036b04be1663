"""L1-sparse fine-tuning by hand."""

import pytest
import torch
from torch import nn

from tests.oracles.algorithms import ft_l1
from tests.oracles.loops import Result
from tests.oracles.small_models import (
    class_one,
    linear,
    pixel_one,
    sgd,
    sigmoid,
    two_weights,
    weights,
)


def run_ft_l1(base: nn.Module, x: float, alpha: float, steps: int) -> Result:
    """Plain SGD (lr 0.1) with a retain batch of pixel x of class 1."""
    task = pixel_one(base, lambda step, slot: class_one(x))
    return ft_l1.unlearn(task, alpha=alpha, **sgd(0.1, steps))


def test_ft_l1_decays() -> None:
    # A retain image of pixel 0 has no gradient: what is left is the subgradient a_t sign(w).
    # alpha 1, four steps: a_t = 1, 3/4, 1/2, 1/4, their sum is 2.5. lr 0.1: (2, -1) loses 0.25 in
    # both magnitudes. A weight of 0 stays.
    result = run_ft_l1(linear([[2.0], [-1.0]]), 0.0, 1.0, 4)
    assert weights(result.model) == pytest.approx([1.75, -0.75])
    assert result.forget_probs == pytest.approx([sigmoid(d) for d in (3, 2.8, 2.65, 2.55, 2.5)])
    assert weights(run_ft_l1(two_weights(), 0.0, 1.0, 4).model) == pytest.approx([0.75, 0.0])


def test_ft_l1_adds_the_retain_loss() -> None:
    # First step of two, alpha 0.4: a_1 = 0.4, a_2 = 0.2. sign (1, 0) at first, then (1, 1).
    result = run_ft_l1(two_weights(), 2.0, 0.4, 2)
    w0 = 1 - 0.1 * (2 * sigmoid(2) + 0.4)
    w1 = 0.1 * 2 * sigmoid(2)
    move = 2 * sigmoid(2 * (w0 - w1))
    expected = [w0 - 0.1 * (move + 0.2), w1 - 0.1 * (0.2 - move)]
    assert weights(result.model) == pytest.approx(expected)


def test_l1_norm_counts_weights_and_biases() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.data = torch.tensor([[1.0, -2.0]])
    layer.bias.data = torch.tensor([-0.5])
    assert float(ft_l1.l1_norm(layer).detach()) == 3.5
