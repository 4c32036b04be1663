"""Density and entanglement of the features."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from factors.density import Moments, entanglement, kde_density, median_distance, standardise
from tests.oracles.factors import density
from unlearning.base_model import BaseModel


def test_density_equals_scikit_learns(
    base: BaseModel, positions: Tensor, pre: dict[str, Tensor]
) -> None:
    features = base.train_features.numpy()
    for k in (0, 3, 11):
        expected = density.kde_density(features, int(positions[k]))
        assert pre["kde_density"][k].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    given = kde_density(standardise(base.train_features), positions[:3], bandwidth=0.7)
    for k in range(3):
        expected = density.kde_density(features, int(positions[k]), bandwidth=0.7)
        assert given[k].item() == pytest.approx(expected, rel=1e-9)


def test_density_by_hand() -> None:
    features = torch.tensor([[0.0], [1.0], [3.0]]).double()
    expected = math.log((math.exp(-0.5) + math.exp(-4.5)) / 2)
    assert kde_density(features, torch.tensor([0]), bandwidth=1.0).item() == pytest.approx(expected)
    assert median_distance(features) == 2.0  # of 1, 2 and 3


def test_constant_features_are_left_at_zero() -> None:
    features = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    assert torch.equal(standardise(features), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]).double())


def test_entanglement_equals_the_two_set_formula(
    base: BaseModel, positions: Tensor, pre: dict[str, Tensor]
) -> None:
    features = base.train_features.double()
    for k, position in enumerate(positions.tolist()[:6]):
        others = torch.cat([features[:position], features[position + 1 :]])
        expected = density.entanglement(others, features[position : position + 1])
        assert pre["entanglement"][k].item() == pytest.approx(expected, rel=1e-9)


def test_entanglement_at_the_centre_is_undefined() -> None:
    square = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1], [0, 0]]).double()
    assert entanglement(square[[4]], Moments.of(square)).isnan()
