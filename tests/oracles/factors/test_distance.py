"""Distances by hand, and against numpy."""

import math

import numpy as np
import pytest
import scipy.special
import torch

from tests.oracles.factors import distance


def test_model_distances_by_hand() -> None:
    # abs: ((|1| + |3|) / 2 + |-5|) / 2 = 3.5, one mean for each tensor.
    before = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[-5.0]])}
    after = {"a": torch.zeros(2), "b": torch.zeros(1, 1)}
    assert distance.model_distance_abs(before, after) == pytest.approx(3.5)
    # KL: (3/4, 1/4) against (1/2, 1/2), and 0 for the second tensor, which has one element.
    before = {"a": torch.tensor([math.log(3), 0.0]), "b": torch.tensor([[-5.0]])}
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert distance.model_distance_kl(before, after) == pytest.approx(expected, rel=1e-6)


def test_model_distance_l2_by_hand() -> None:
    # 1 + 4 + 4 + 16 = 25 over both tensors.
    before = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[2.0], [0.0]])}
    after = {"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([[4.0], [-4.0]])}
    assert distance.model_distance_l2(before, after) == 5.0
    assert distance.model_distance_l2(after, before) == 5.0
    assert distance.model_distance_l2(before, before) == 0.0


def test_activation_distance_by_hand() -> None:
    # Row 0: (3/4, 1/4) to (1/2, 1/2): sqrt(2) / 4. Row 1: the logits move, the softmax does not.
    before = [[math.log(3), 0.0], [0.0, 0.0]]
    after = [[0.0, 0.0], [9.0, 9.0]]
    expected = math.sqrt(2) / 8
    assert distance.activation_distance(before, after) == pytest.approx(expected)
    # Opposite corners are sqrt(2) apart.
    found = distance.activation_distance([[900.0, 0.0]], [[0.0, 900.0]])
    assert found == pytest.approx(math.sqrt(2))


def test_feature_distance_by_hand() -> None:
    # ||(3, 4)|| = 5 and 0 and ||(0, 1)|| = 1: mean 2.
    before = [[3.0, 4.0], [1.0, 1.0], [0.0, 1.0]]
    after = [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    assert distance.feature_distance(before, after) == 2.0
    with pytest.raises(ValueError, match="shorter"):
        distance.feature_distance(before, after[:2])


def test_row_distances_against_numpy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 7)), rng.normal(size=(20, 7))
    expected = np.mean(np.linalg.norm(a - b, axis=1))
    assert distance.feature_distance(a, b) == pytest.approx(expected)
    moved = scipy.special.softmax(a, axis=1) - scipy.special.softmax(b, axis=1)
    expected = np.mean(np.linalg.norm(moved, axis=1))
    assert distance.activation_distance(torch.tensor(a), b) == pytest.approx(expected)
