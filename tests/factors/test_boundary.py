"""Distances to the decision boundary."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from factors.boundary import deepfool_norm, linear_boundary_distance
from tests.oracles.factors import boundary
from unlearning.base_model import BaseModel, Model


@pytest.mark.slow
def test_deepfool_agrees_with_foolbox(base: BaseModel, pre: dict[str, Tensor]) -> None:
    samples = torch.arange(200)
    norms = deepfool_norm(base.model, base.train_inputs[samples])
    for position in samples.tolist():
        expected = boundary.deepfool_norm(base.network, base.train_inputs[position])
        assert expected is not None
        # foolbox adds 1e-4 to the length of every step.
        assert norms[position].item() == pytest.approx(expected, rel=0.01, abs=5e-4)


class Linear(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T + self.bias


def test_deepfool_of_a_linear_model_is_the_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(5, 16, generator=generator), torch.randn(5, generator=generator)
    network = Linear(weight, bias).double()
    images = torch.randn(40, 1, 4, 4, generator=generator).double()
    params = {name: p.detach() for name, p in network.named_parameters()}
    norms = deepfool_norm(Model(network, params), images)
    for image, norm in zip(images, norms, strict=True):
        expected = boundary.linear_deepfool_norm(weight.double(), bias.double(), image.flatten())
        assert norm.item() == pytest.approx(expected, rel=1e-5)


def test_deepfool_without_another_class_to_reach_is_undefined() -> None:
    network = Linear(torch.zeros(3, 4), torch.tensor([1.0, 0.0, 0.0])).double()
    params = {name: p.detach() for name, p in network.named_parameters()}
    norm = deepfool_norm(Model(network, params), torch.ones(2, 1, 2, 2).double())
    assert norm.isnan().all()


def test_linear_boundary_distance_equals_the_oracle(
    base: BaseModel, positions: Tensor, pre: dict[str, Tensor]
) -> None:
    last = base.head
    for k, position in enumerate(positions.tolist()):
        phi = base.train_features[position]
        expected = boundary.linear_boundary_distance(last.weight, last.bias, phi)
        assert pre["linear_boundary_distance"][k].item() == pytest.approx(expected, rel=1e-4)


def test_linear_boundary_distance_by_hand() -> None:
    weight, bias = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([5.0, -1.0])
    # |3 + 8 + 5| / 5 = 3.2 and |4 - 1| / 2 = 1.5
    assert linear_boundary_distance(weight, bias, torch.tensor([[1.0, 2.0]])).item() == 1.5
