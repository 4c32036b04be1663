"""The forget sample's own prediction by hand, and against other libraries."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from torch import nn

from tests.oracles.factors import initial


def linear(weight: list[list[float]], bias: list[float]) -> nn.Module:
    """Logits W x + b of a flattened image, in float64."""
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data = torch.tensor(weight, dtype=torch.float64)
    layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    return nn.Sequential(nn.Flatten(), layer)


def test_prediction_by_hand() -> None:
    # Logits (log 3, 0, 0): softmax (3, 1, 1) / 5.
    logits = [math.log(3), 0.0, 0.0]
    assert initial.confidence(logits, 0) == pytest.approx(0.6)
    assert initial.confidence(logits, 2) == pytest.approx(0.2)
    assert initial.loss(logits, 0) == pytest.approx(math.log(5 / 3))
    assert initial.loss(logits, 1) == pytest.approx(math.log(5))
    expected = -0.6 * math.log(0.6) - 0.4 * math.log(0.2)
    assert initial.entropy(logits) == pytest.approx(expected)
    # Uniform over four classes: log 4.
    assert initial.entropy([7.0] * 4) == pytest.approx(math.log(4))


def test_el2n_by_hand() -> None:
    # Softmax (3, 1, 1) / 5, minus (1, 0, 0) and minus (0, 0, 1).
    logits = [math.log(3), 0.0, 0.0]
    assert initial.el2n(logits, 0) == pytest.approx(math.sqrt(4 + 1 + 1) / 5)
    assert initial.el2n(logits, 2) == pytest.approx(math.sqrt(9 + 1 + 16) / 5)
    # Sure of it: p = (1 - q, q) with q = exp(-40), and the norm is q sqrt(2).
    assert initial.el2n([40.0, 0.0], 0) == pytest.approx(math.exp(-40) * math.sqrt(2))


def test_margin_by_hand() -> None:
    # Highest other logit: 2 for class 0, 5 for the other classes; a tie at the top is 0.
    logits = [5.0, 2.0, -1.0]
    assert initial.margin(logits, 0) == 3.0
    assert initial.margin(logits, 1) == -3.0
    assert initial.margin(logits, 2) == -6.0
    assert initial.margin([4.0, 4.0, 0.0], 1) == 0.0


def test_prediction_at_extremes() -> None:
    # p = (1, 0): exp(-2000) is 0 in float64, the loss of class 1 is 2000 all the same.
    logits = [1000.0, -1000.0]
    assert initial.confidence(logits, 0) == 1.0
    assert initial.confidence(logits, 1) == 0.0
    assert initial.loss(logits, 0) == 0.0
    assert initial.loss(logits, 1) == 2000.0
    assert initial.entropy(logits) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_prediction_against_scipy_and_torch(seed: int) -> None:
    logits = torch.tensor(np.random.default_rng(seed).normal(size=10) * 5)
    probs = scipy.special.softmax(logits.numpy())
    target = torch.tensor([3])
    assert initial.confidence(logits, 3) == pytest.approx(probs[3])
    assert initial.entropy(logits) == pytest.approx(scipy.stats.entropy(probs))
    expected = float(F.cross_entropy(logits.unsqueeze(0), target))
    assert initial.loss(logits, 3) == pytest.approx(expected)
    assert math.exp(-initial.loss(logits, 3)) == pytest.approx(probs[3])


def test_grad_norm_by_hand() -> None:
    # Logits (x, 0) with x = 2: d CE(x, 0) / d logits = (-q, q), q = 1 / (1 + e^2). The weights'
    # gradient is that times x, the biases' that times 1: norm q sqrt(2 (x^2 + 1)) = q sqrt(10).
    model = linear([[1.0], [0.0]], [0.0, 0.0])
    image = torch.tensor([[[2.0]]])
    q = 1 / (1 + math.exp(2))
    assert initial.grad_norm(model, image, 0) == pytest.approx(q * math.sqrt(10))
    assert initial.grad_norm(model, image, 1) == pytest.approx((1 - q) * math.sqrt(10))


def test_grad_norm_counts_frozen_parameters_and_leaves_the_model_alone() -> None:
    # Dropout and old gradients play no part; the model keeps its mode, dtype and gradients.
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2)]
    model = nn.Sequential(*layers).train()
    image = torch.randn(1, 2, 2)
    first = initial.grad_norm(model, image, 1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    model[1].requires_grad_(False)
    assert initial.grad_norm(model, image, 1) == first
    assert model.training
    assert not model[1].weight.requires_grad
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, torch.ones_like(parameter))


def test_grad_norm_against_finite_differences() -> None:
    # Central differences of the loss in each parameter, batch norm with its running statistics.
    torch.manual_seed(1)
    layers = [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)]
    model = nn.Sequential(*layers).double().eval()
    image = torch.randn(1, 4, 4, dtype=torch.float64)
    squares = 0.0
    h = 1e-5
    with torch.no_grad():
        for parameter in model.parameters():
            flat = parameter.view(-1)
            for i in range(len(flat)):
                value = float(flat[i])
                losses = []
                for moved in (value + h, value - h):
                    flat[i] = moved
                    losses.append(initial.loss(model(image.unsqueeze(0))[0], 2))
                flat[i] = value
                squares += ((losses[0] - losses[1]) / (2 * h)) ** 2
    assert initial.grad_norm(model, image, 2) == pytest.approx(math.sqrt(squares), rel=1e-7)
