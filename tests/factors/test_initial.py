"""What the base model makes of a sample, where its boundary is, and how it was learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from factors.family import pre_values
from factors.initial import deepfool_norm, grad_norm
from factors.learning import LEARNING
from tests.factors.small_bases import Tied, random_base
from tests.oracles.factors import boundary, initial, learning
from unlearning.base_model import BaseModel, Companions, Model
from unlearning.training import Recorder


def test_initial_factors_equal_the_oracle(
    base: BaseModel, positions: Tensor, pre: dict[str, Tensor]
) -> None:
    for k, position in enumerate(positions.tolist()):
        logits, label = base.train_logits[position].double(), int(base.train_labels[position])
        head = base.head
        assert head is not None
        expected = {
            "confidence": initial.confidence(logits, label),
            "margin": initial.margin(logits, label),
            "loss": initial.loss(logits, label),
            "entropy": initial.entropy(logits),
            "el2n": initial.el2n(logits, label),
            "linear_boundary_distance": boundary.linear_boundary_distance(
                head.weight, head.bias, base.train_features[position]
            ),
            "pairwise_boundary_distance": boundary.pairwise_boundary_distance(
                head.weight.detach(),
                head.bias.detach(),
                base.train_features[position],
                label,
            ),
        }
        for name, value in expected.items():
            assert pre[name][k].item() == pytest.approx(value, rel=1e-4, abs=1e-9), name


def test_grad_norm_equals_the_oracle(base64: BaseModel, positions: Tensor) -> None:
    """Also of tied weights and a scalar; in float32 a confident sample's is off by a percent."""
    for base, some in ((base64, positions), (random_base(Tied()), torch.arange(3))):
        for position, norm in zip(some.tolist(), grad_norm(base, some), strict=True):
            image, label = base.train_inputs[position], int(base.train_labels[position])
            expected = initial.grad_norm(base.network, image, label)
            assert norm.item() == pytest.approx(expected, rel=1e-9)


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


@pytest.mark.parametrize("epochs", [1, 9])
def test_how_samples_are_learned_equals_the_oracle(base: BaseModel, epochs: int) -> None:
    random = np.random.default_rng(epochs)
    size, classes = base.train_logits.shape
    logits = torch.from_numpy(2 * random.normal(size=(epochs, size, classes)))
    logits[:, torch.arange(0, size, 2), base.train_labels[::2]] += 3  # right more often than not
    recorder = Recorder()
    for rows in logits:
        for batch in torch.from_numpy(random.permutation(size)).split(300):
            recorder.see(batch, rows[batch])
        recorder.end_epoch(base.train_labels)
    positions = torch.from_numpy(random.permutation(size)[:60].copy())
    beside = Companions(learning=recorder.learning)
    known = BaseModel(base.network, base.dataset, base.device, companions=beside)
    values = pre_values(known, [LEARNING], positions)
    for name in (column.name for column in LEARNING.declared):
        of = getattr(learning, name)
        expected = [of(list(logits[:, p]), int(base.train_labels[p])) for p in positions.tolist()]
        # Traces are kept in float32.
        np.testing.assert_allclose(values[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    if epochs > 2:
        assert values["forgetting_events"].unique().numel() > 2
        assert values["first_epoch_learned"].unique().numel() > 2
