"""A sample among the features of all training samples, and in the last layer alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from factors.features import (
    entanglement,
    kde_density,
    knn_agreement,
    representation,
    standardise,
)
from tests.factors.small_bases import Tied, base_of, normalised, random_base, split_of
from tests.oracles.factors import density
from tests.oracles.factors import representation as oracle
from unlearning.base_model import BaseModel


def test_density_equals_scikit_learns(
    base: BaseModel, positions: Tensor, pre: dict[str, Tensor]
) -> None:
    features = base.train_features.numpy()
    given = kde_density(standardise(base.train_features), positions, bandwidth=0.7)
    for k in (0, 3, 9):
        expected = density.kde_density(features, int(positions[k]))
        assert pre["kde_density"][k].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        expected = density.kde_density(features, int(positions[k]), bandwidth=0.7)
        assert given[k].item() == pytest.approx(expected, rel=1e-9)


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
    assert entanglement(square, torch.tensor([4])).isnan()


def expected_of(base: BaseModel, position: int) -> dict[str, float]:
    features, labels = base.train_features, base.train_labels
    head = base.head
    assert head is not None
    return {
        "knn_agreement": oracle.knn_agreement(features, labels, position),
        "leverage": oracle.leverage(features, position),
        "last_layer_influence": oracle.last_layer_influence(
            head.weight, head.bias, features, labels, position
        ),
    }


def test_every_column_equals_the_oracle(
    base64: BaseModel, positions: Tensor, pre: dict[str, Tensor]
) -> None:
    found = representation(base64, positions)
    for k in (0, 3, 9):
        for name, value in expected_of(base64, int(positions[k])).items():
            assert found[name][k].item() == pytest.approx(value, rel=1e-8), name
            assert pre[name][k].item() == pytest.approx(value, rel=1e-3), name  # in float32


@pytest.mark.parametrize("network", [normalised, Tied])
def test_more_features_than_samples_and_no_bias(network: Callable[[], nn.Module]) -> None:
    base = random_base(network())
    found = representation(base, torch.arange(20))
    for position in range(20):
        for name, value in expected_of(base, position).items():
            assert found[name][position].item() == pytest.approx(value, rel=1e-8), name


def test_equal_samples_are_neighbours_by_their_position() -> None:
    # All 13 are in one place: the neighbours of the last are the first ten, those of the first the
    # ten after it, of which the last two are of the other class.
    features, labels = torch.ones(13, 2), torch.tensor([0] * 9 + [1] * 4)
    found = knn_agreement(features, labels, torch.tensor([12, 0]))
    assert found.tolist() == [0.1, 0.8]
    # Two that are nearer to the last than all others come before them.
    features[12] += 1
    features[10:12] += 0.5
    assert knn_agreement(features, labels, torch.tensor([12])).item() == 0.2


def test_a_model_that_is_sure_of_everything_has_no_influence() -> None:
    layer = nn.Linear(1, 3, bias=False)
    layer.weight.data = torch.tensor([[0.0], [-9999.0], [-9999.0]])
    image = split_of([[1], [1]], [0, 0])
    base = base_of(nn.Sequential(nn.Flatten(), layer), image, image, white=1)
    assert representation(base, torch.arange(2))["last_layer_influence"].tolist() == [0, 0]
