"""Neighbours, leverage and self-influence by hand, and in other forms."""

import numpy as np
import pytest
import torch

from tests.oracles.factors.representation import (
    knn_agreement,
    last_layer_influence,
    leverage,
)


def test_knn_agreement_by_hand() -> None:
    # From row 0 at 0: rows 1 (at 1) and 2 (at -2) are the nearest two, of which row 1 agrees.
    features, labels = [[0.0], [1.0], [-2.0], [5.0]], [0, 0, 1, 1]
    assert knn_agreement(features, labels, 0, neighbours=2) == 0.5
    assert knn_agreement(features, labels, 3, neighbours=1) == 0.0
    assert knn_agreement(features, labels, 0) == pytest.approx(1 / 3)  # all three others
    # Rows 0 and 2 are equally far from row 1: the first is taken.
    assert knn_agreement([[0.0], [1.0], [2.0]], [0, 0, 1], 1, neighbours=1) == 1.0


def test_leverage_by_hand() -> None:
    # (-1, 0, 1): 1/3 for the intercept, and x^2 / sum x^2.
    features = [[-1.0], [0.0], [1.0]]
    assert leverage(features, 0) == pytest.approx(1 / 3 + 1 / 2, rel=1e-5)
    assert leverage(features, 1) == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(3))
def test_leverage_is_the_diagonal_of_the_hat_matrix(seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(30, 4)) + 2
    design = np.column_stack([np.ones(30), rows])
    hat = design @ np.linalg.pinv(design)
    for index in (0, 7, 29):
        assert leverage(rows, index) == pytest.approx(hat[index, index], rel=1e-4)
    # A feature that repeats another says nothing more.
    twice = np.column_stack([rows, rows[:, 0]])
    assert leverage(twice, 7) == pytest.approx(hat[7, 7], rel=1e-4)


def test_last_layer_influence_by_hand() -> None:
    # One sample a = 2 with logits (0, 0): p = (1/2, 1/2), g = (-1, 1), H = p (1 - p) a^2 = 1 for
    # either class, damping 0.1: 2 / 1.1.
    weight, features = torch.zeros(2, 1), torch.tensor([[2.0]])
    found = last_layer_influence(weight, None, features, torch.tensor([0]), 0)
    assert found == pytest.approx(2 / 1.1)
    # With a bias a = (2, 1): |a|^2 = 5, H = a a^T / 4, damping 0.1 * 5/8 = 1/16. g = (a, -a) / 2
    # is an eigenvector: 2 * (5/4) / (5/4 + 1/16).
    found = last_layer_influence(weight, torch.zeros(2), features, torch.tensor([0]), 0)
    assert found == pytest.approx(2 * 1.25 / (1.25 + 1 / 16))


def test_last_layer_influence_of_two_classes_is_logistic_regressions() -> None:
    # Two classes have one probability: each block is the Hessian of a logistic regression.
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(12, 3, generator=generator).double()
    weight = torch.randn(2, 3, generator=generator).double()
    labels = torch.arange(12) % 2
    p = torch.sigmoid(features @ (weight[1] - weight[0]))
    hessian = (features.T * (p * (1 - p))) @ features / 12
    damped = hessian + 0.1 * hessian.diagonal().mean() * torch.eye(3)
    g = (p[5] - labels[5]) * features[5]
    expected = 2 * float(g @ torch.linalg.solve(damped, g))
    found = last_layer_influence(weight, None, features, labels, 5)
    assert found == pytest.approx(expected)
