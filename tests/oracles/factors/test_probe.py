"""Probes of a model with one weight and one bias a class, worked out by hand.

Logits (2x, 0) of a pixel x: the margin is 2x, and with u = (1, -1) the gradient of CE(x, 0) is
-q (x u, u) in weights and biases, q = 1 / (1 + e^(2x)).
"""

import math

import pytest
import torch
from torch import nn

from tests.oracles.factors import probe


def model() -> nn.Module:
    layer = nn.Linear(1, 2)
    layer.weight.data = torch.tensor([[2.0], [0.0]], dtype=torch.float64)
    layer.bias.data = torch.zeros(2, dtype=torch.float64)
    return nn.Sequential(nn.Flatten(), layer).double()


IMAGE = torch.tensor([[[3.0]]], dtype=torch.float64)  # margin 6
Q = 1 / (1 + math.exp(6))


def test_flip_steps_by_hand() -> None:
    # Along the signs the margin falls by 2 (x + 1) a unit; along the gradient at length one by
    # sqrt(2 (x^2 + 1)).
    assert probe.flip_probe_step_adam(model(), IMAGE, 0) == pytest.approx(6 / 8)
    assert probe.flip_probe_step_sgd(model(), IMAGE, 0) == pytest.approx(6 / math.sqrt(20))
    assert math.isnan(probe.flip_probe_step_adam(model(), IMAGE, 1))


def test_a_direction_that_never_flips() -> None:
    downhill = [-part for part in probe.adam_direction(model(), IMAGE, 0)]
    assert math.isnan(probe.flip_step(model(), downhill, IMAGE, 0))


def test_damage_by_hand() -> None:
    # At the flip the pixel 3 has p = 1/2; the pixel 1 has the logits' difference
    # (2 - 2s) - 2s = -1 with s = 3/4.
    tests = torch.tensor([3.0, 1.0], dtype=torch.float64).reshape(2, 1, 1, 1), torch.tensor([0, 0])
    before = ((1 - Q) + 1 / (1 + math.exp(-2))) / 2
    after = (0.5 + 1 / (1 + math.exp(1))) / 2
    found = probe.flip_probe_damage_adam(model(), IMAGE, 0, 0.75, tests)
    assert found == pytest.approx(before - after)
    own = tests[0][:1], tests[1][:1]
    found = probe.flip_probe_damage_sgd(model(), IMAGE, 0, 6 / math.sqrt(20), own)
    assert found == pytest.approx(0.5 - Q)


def test_a_step_of_ascent_by_hand() -> None:
    # Adam's first step moves every entry by lr: the margin falls from 6 to 6 - 8 lr.
    found = probe.ga_step_loss(model(), IMAGE, 0, 0.01)
    expected = math.log1p(math.exp(-5.92)) - math.log1p(math.exp(-6))
    assert found == pytest.approx(expected, rel=1e-4)


def test_curvature_by_hand() -> None:
    # H = q (1 - q) v v' with v = (x u, u), to which g is parallel: q (1 - q) |v|^2, |v|^2 = 20.
    assert probe.own_curvature(model(), IMAGE, 0) == pytest.approx(20 * Q * (1 - Q))


def test_noise_by_hand() -> None:
    # The weights 2 and 0 have the standard deviation 1, the biases none: their noise is nothing.
    ones = [torch.ones(2, 1).double(), torch.ones(2).double()]
    assert probe.noise_sensitivity(model(), IMAGE, 0, 0.5, lambda draw: ones) == pytest.approx(0)
    apart = [torch.tensor([[-1.0], [1.0]]).double(), torch.ones(2).double()]
    found = probe.noise_sensitivity(model(), IMAGE, 0, 0.5, lambda draw: apart)
    # Weights (1.5, 0.5): margin 3.
    assert found == pytest.approx(math.log1p(math.exp(-3)) - math.log1p(math.exp(-6)))
