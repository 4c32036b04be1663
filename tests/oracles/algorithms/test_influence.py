"""Influence unlearning in closed form."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.oracles.algorithms.influence import along_direction
from tests.oracles.loops import Data, Result
from tests.oracles.small_models import (
    Q,
    class_one,
    linear,
    pair,
    pixel_one,
    random_retain,
    random_task,
    sigmoid,
    two_weights,
    weights,
)


def run_influence(
    base: nn.Module, data: Data, layers: str, damping: float, alpha_max: float
) -> Result:
    """Pixel 1 of class 0 forgotten, 10 training samples, alpha from 1, last layer "2."."""
    return along_direction(
        replace(pixel_one(base), head="2."),
        data,
        10,
        layers=layers,
        damping=damping,
        alpha_start=1.0,
        alpha_max=alpha_max,
    )


def two_weight_direction(xs: tuple[float, ...], damping: float) -> float:
    """The direction's multiple of u for pixels xs of class 1.

    g_i = c_i u with c_i = x_i sigmoid(x_i), g_f = -Q u, and F u = (damping + 2 mean c_i^2) u.
    """
    c = [x * sigmoid(x) for x in xs]
    curvature = damping + 2 * sum(v * v for v in c) / len(c)
    return (-Q - sum(c) / len(c)) / curvature


def test_influence_in_closed_form() -> None:
    # d_t = 1 + 2 r alpha_t / 10 with r < 0, alpha_t = 1, 2, 4, ...; flipped where it is below 0.
    r = two_weight_direction((2.0, 0.5), 0.3)
    ds = [1.0] + [1 + 2 * r * 2**t / 10 for t in range(10)]
    flip = next(t for t in range(11) if ds[t] < 0)
    assert flip > 2
    base = two_weights()
    result = run_influence(base, class_one(2.0, 0.5), "all", 0.3, 1e6)
    assert (result.status, result.steps) == ("flipped", flip)
    assert result.details == {"alpha": 2.0 ** (flip - 1)}
    assert weights(result.model) == pytest.approx(pair(ds[flip]))
    assert result.forget_probs == pytest.approx([sigmoid(d) for d in ds[: flip + 1]])
    assert weights(base) == [1.0, 0.0]
    assert all(parameter.grad is None for parameter in base.parameters())


def test_influence_is_ascent_on_the_forget_sample() -> None:
    # An influence image of pixel 0 has no gradient: F = 0.5 I and the direction is g_f / 0.5.
    result = run_influence(two_weights(), class_one(0.0), "all", 0.5, 1.0)
    assert weights(result.model) == pytest.approx(pair(1 - 2 * Q / 0.5 / 10))
    assert result.forget_losses[1] > result.forget_losses[0]


@pytest.mark.parametrize(
    ("alpha_max", "steps", "alpha"), [(0.5, 0, 0.0), (1.0, 1, 1.0), (3.9, 2, 2.0), (4.0, 3, 4.0)]
)
def test_influence_ends_when_alpha_max_is_passed(
    alpha_max: float, steps: int, alpha: float
) -> None:
    # Damping 100: nothing flips. alpha_max itself is still used.
    r = two_weight_direction((2.0,), 100.0)
    result = run_influence(two_weights(), class_one(2.0), "all", 100.0, alpha_max)
    assert (result.status, result.steps) == ("max_steps", steps)
    assert result.details == {"alpha": alpha}
    assert weights(result.model) == pytest.approx(pair(1 + 2 * r * alpha / 10))


def two_layers() -> nn.Module:
    """Hidden h = 0.5 x, logits (2 h, 0): the two-weight model's logits, in three weights."""
    hidden, out = nn.Linear(1, 1, bias=False), nn.Linear(1, 2, bias=False)
    hidden.weight.data = torch.tensor([[0.5]])
    out.weight.data = torch.tensor([[2.0], [0.0]])
    return nn.Sequential(nn.Flatten(), hidden, out).double().eval()


def test_influence_of_the_last_layer() -> None:
    # The last layer sees h = x / 2: g_f = -Q / 2 u, and pixel 2 of class 1 has sigmoid(2) u.
    g = sigmoid(2)
    r = (-Q / 2 - g) / (0.3 + 2 * g * g)
    result = run_influence(two_layers(), class_one(2.0), "last", 0.3, 1.0)
    assert weights(result.model) == pytest.approx([0.5, 2 + r / 10, -r / 10])


def test_influence_of_all_layers() -> None:
    # Weights (a, w0, w1). CE(x, 0) with 1 - p = Q: d/da = -Q x (w0 - w1) = -2 Q, d/dw = -Q a x u.
    # Pixel 2 of class 1, p = sigmoid(2): d/da = p x (w0 - w1) = 4 p, d/dw = p a x u = p u.
    # Sherman-Morrison: (c I + g g')^-1 v = (v - g (g'v) / (c + g'g)) / c.
    p = sigmoid(2)
    g_forget = np.array([-2 * Q, -Q / 2, Q / 2])
    g = np.array([4 * p, p, -p])
    v = g_forget - g
    direction = (v - g * (g @ v) / (0.3 + g @ g)) / 0.3
    result = run_influence(two_layers(), class_one(2.0), "all", 0.3, 1.0)
    expected = np.array([0.5, 2.0, 0.0]) + direction / 10
    assert weights(result.model) == pytest.approx(expected.tolist())


def test_influence_ends_without_a_step() -> None:
    wrong = run_influence(linear([[0.0], [1.0]]), class_one(2.0), "all", 0.3, 9.0)
    assert (wrong.status, wrong.steps, wrong.details) == ("already_wrong", 0, {})
    broken = run_influence(two_weights(), class_one(math.inf), "all", 0.3, 9.0)
    assert (broken.status, broken.steps, broken.details) == ("non_finite", 0, {"alpha": 0.0})
    assert weights(broken.model) == [1.0, 0.0]


@pytest.mark.parametrize("layers", ["last", "all"])
def test_influence_moves_the_chosen_layers_only(layers: str) -> None:
    task = replace(random_task(), head="4.")
    before = copy.deepcopy(task.base.state_dict())
    result = along_direction(
        task,
        random_retain(1, 0),
        5,
        layers=layers,
        damping=10.0,
        alpha_start=0.1,
        alpha_max=0.2,
    )
    assert result.steps > 0
    for name, value in task.base.state_dict().items():
        assert torch.equal(value, before[name]), name
    parameters = [name for name, _ in task.base.named_parameters()]
    for name, value in result.model.state_dict().items():
        moves = name in parameters and (layers == "all" or name.startswith("4."))
        assert torch.equal(value, before[name]) != moves, name
