"""Distances to the decision boundary by hand, and in closed form."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.oracles.factors import boundary

# phi = (1, 1), logits (8, 2, 0).
WEIGHT, BIAS, PHI = [[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]], [1.0, 0.0, 0.0], [1.0, 1.0]


def test_linear_boundary_distances_by_hand() -> None:
    # f = (3 * 1 + 4 * 1 + 1, 0 + 2, 0) = (8, 2, 0); ||w|| = 5, 2, 0: min of 8/5 and 2/2 is 1.
    assert boundary.linear_boundary_distance(WEIGHT, BIAS, PHI) == pytest.approx(1.0)
    # Pairwise from class 0: 6 / ||(3, 2)|| = 1.664 and 8 / 5 = 1.6.
    assert boundary.linear_deepfool_norm(WEIGHT, BIAS, PHI) == pytest.approx(1.6)
    assert boundary.linear_boundary_distance([[0.0, 0.0]], [1.0], PHI) is None


@pytest.mark.parametrize("seed", range(5))
def test_deepfool_of_a_linear_model(seed: int) -> None:
    # One step suffices; foolbox lengthens it by 1e-4.
    torch.manual_seed(seed)
    layer = nn.Linear(18, 12)
    model = nn.Sequential(nn.Flatten(), layer).eval()
    image = torch.randn(2, 3, 3)
    expected = boundary.linear_deepfool_norm(layer.weight, layer.bias, image)
    assert expected is not None
    assert boundary.deepfool_norm(model, image) == pytest.approx(expected + 1e-4, rel=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_deepfool_that_cannot_flip() -> None:
    # All the logits' differences are constant: there is no direction to go.
    layer = nn.Linear(4, 3)
    layer.weight.data = torch.ones(3, 4)
    layer.bias.data = torch.tensor([2.0, 1.0, 0.0])
    model = nn.Sequential(nn.Flatten(), layer).eval()
    assert boundary.deepfool_norm(model, torch.randn(1, 2, 2)) is None


def test_pairwise_boundary_distance_by_hand() -> None:
    # From class 0: 6 / ||(3, 2)|| = 1.664 and 8 / ||(3, 4)|| = 1.6.
    assert boundary.pairwise_boundary_distance(WEIGHT, BIAS, PHI, 0) == pytest.approx(1.6)
    # Not the predicted class: from class 1, 6 / sqrt(13) and 2 / 2 = 1; from class 2 1.6 and 1.
    assert boundary.pairwise_boundary_distance(WEIGHT, BIAS, PHI, 1) == pytest.approx(1.0)
    assert boundary.pairwise_boundary_distance(WEIGHT, BIAS, PHI, 2) == pytest.approx(1.0)
    # Only the biases' difference: (1, 0) . (0, 5) + 2 - 5 = -3, over 1.
    found = boundary.pairwise_boundary_distance([[1.0, 0.0], [0.0, 0.0]], [2, 5], [0, 5], 0)
    assert found == pytest.approx(3.0)
    # phi on the boundary.
    found = boundary.pairwise_boundary_distance([[1.0], [-1.0]], [0.0, 0.0], [0.0], 0)
    assert found == 0.0


def test_pairwise_boundary_distance_skips_equal_rows() -> None:
    # Class 1 has the weights of class 0; the boundary with class 2 is 2 / 2 = 1 away.
    weight, bias = [[1.0], [1.0], [-1.0]], [0.0, 0.0, 0.0]
    assert boundary.pairwise_boundary_distance(weight, bias, [1.0], 0) == 1.0
    found = boundary.pairwise_boundary_distance([[1.0], [1.0]], [0.0, 1.0], [1.0], 0)
    assert math.isnan(found)


@pytest.mark.parametrize("seed", range(3))
def test_pairwise_boundary_distance_is_deepfool_from_the_predicted_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight, bias, phi = rng.normal(size=(10, 6)), rng.normal(size=10), rng.normal(size=6)
    predicted = int(np.argmax(weight @ phi + bias))
    expected = boundary.linear_deepfool_norm(weight, bias, phi)
    found = boundary.pairwise_boundary_distance(weight, bias, phi, predicted)
    assert found == pytest.approx(expected)
