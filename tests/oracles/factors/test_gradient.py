"""Gradients of a linear model by hand, and rates against moves of the weights."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.oracles.arrays import Array
from tests.oracles.factors import gradient
from tests.oracles.small_models import Q, convolutional, pixels, sigmoid, two_weights

# Logits (w0 x, w1 x) at w = (1, 0), pixel 1 of class 0: g = Q (-1, 1), the margin is 1 and its
# gradient (1, -1). It is zero where the weights are equal, (1/2, 1/2).
IMAGE = pixels(1.0)


def test_gradients_by_hand() -> None:
    model = two_weights()
    found = gradient.loss_gradients(model, torch.stack([IMAGE, pixels(2.0)]), [0, 1])
    assert found[0] == pytest.approx([-Q, Q])
    # Pixel 2 of class 1 has p_0 = sigmoid(2): 2 sigmoid(2) (1, -1).
    assert found[1] == pytest.approx([2 * sigmoid(2), -2 * sigmoid(2)])
    assert gradient.gradient(model, gradient.margin(0), IMAGE) == pytest.approx([1, -1])
    slope = Q * (1 - Q)
    mean = gradient.probability_gradient(model, torch.stack([IMAGE, IMAGE]), [0, 1])
    assert mean == pytest.approx([0, 0])
    assert gradient.probability_gradient(model, IMAGE[None], [0]) == pytest.approx([slope, -slope])
    assert gradient.last_layer_grad_norm(model, "1", IMAGE, 0) == pytest.approx(Q * math.sqrt(2))
    # d CE / dx = -Q (w0 - w1).
    assert gradient.input_grad_norm(model, IMAGE, 0) == pytest.approx(Q)


def test_first_order_steps_by_hand() -> None:
    model, slope = two_weights(), Q * (1 - Q)
    # Along (-1, 1) / sqrt(2) it takes sqrt(1/2) to (1/2, 1/2); along (-1, 1), 1/2.
    assert gradient.first_order_step_sgd(model, IMAGE, 0) == pytest.approx(math.sqrt(0.5))
    assert gradient.first_order_step_adam(model, IMAGE, 0) == pytest.approx(0.5)
    # The same image in the test set: either way d falls by 1, and p by its slope in d.
    test = gradient.probability_gradient(model, IMAGE[None], [0])
    assert gradient.first_order_damage_sgd(model, IMAGE, 0, test) == pytest.approx(slope)
    assert gradient.first_order_damage_adam(model, IMAGE, 0, test) == pytest.approx(slope)
    # Misclassified.
    assert math.isnan(gradient.first_order_step_sgd(model, IMAGE, 1))
    assert math.isnan(gradient.first_order_damage_adam(model, IMAGE, 1, test))


def test_cosines_by_hand() -> None:
    rows = [np.array(row) for row in ([3.0, 4.0], [2.0, 0.0], [0.0, 0.0], [4.0, 0.0])]
    # The others' mean is (2, 0).
    assert gradient.retain_cosine(rows, 0) == pytest.approx(0.6)
    assert gradient.hamu_curvature(rows, 0) == pytest.approx(4.0)
    assert gradient.class_cosine(rows, [0, 1, 1, 0], 0) == pytest.approx(0.6)
    # Alone in its class; with a zero gradient; among others with a zero mean.
    assert math.isnan(gradient.class_cosine(rows, [0, 1, 1, 1], 0))
    assert math.isnan(gradient.retain_cosine(rows, 2))
    assert math.isnan(gradient.hamu_curvature(rows, 2))
    assert math.isnan(gradient.class_cosine(rows, [0, 1, 1, 0], 1))


def test_hamu_curvature_is_the_formula() -> None:
    rows = list(np.random.default_rng(0).normal(size=(6, 5)))
    retain, forget = np.mean(rows[1:], axis=0), rows[0]
    area = retain @ retain * (forget @ forget) - (retain @ forget) ** 2
    expected = math.sqrt(area) / np.linalg.norm(retain)
    assert gradient.hamu_curvature(rows, 0) == pytest.approx(expected)
    assert gradient.retain_cosine(rows, 0) == pytest.approx(
        forget @ retain / np.linalg.norm(retain) / np.linalg.norm(forget)
    )


@pytest.mark.parametrize(
    ("step", "along"),
    [
        (gradient.first_order_step_sgd, gradient.unit),
        (gradient.first_order_step_adam, np.sign),
    ],
)
def test_steps_against_moved_weights(step: gradient.Step, along: gradient.Direction) -> None:
    # The margin's slope between two nearby moves, batch norm with its running statistics.
    model = convolutional().double()
    image = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(7)).double()
    label = int(model(image[None]).argmax())
    direction = along(gradient.gradient(model, gradient.loss(label), image))
    h = 1e-6
    margins = [_margin(moved(model, direction * move), image, label) for move in (-h, 0, h)]
    expected = margins[1] / ((margins[0] - margins[2]) / (2 * h))
    assert step(model, image, label) == pytest.approx(expected, rel=1e-6)


def moved(model: nn.Module, by: Array) -> nn.Module:
    result = copy.deepcopy(model)
    weights = nn.utils.parameters_to_vector(result.parameters())
    nn.utils.vector_to_parameters(weights + torch.from_numpy(by), result.parameters())
    return result


def _margin(model: nn.Module, image: torch.Tensor, label: int) -> float:
    return gradient.margin(label)(model(image[None])[0]).item()
