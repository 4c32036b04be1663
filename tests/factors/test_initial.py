"""What the base model makes of a sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from factors.initial import grad_norm
from tests.factors.small_bases import Tied, random_base
from tests.oracles.factors import boundary, initial
from unlearning.base_model import BaseModel


def test_initial_factors_equal_the_oracle(
    base: BaseModel, positions: Tensor, pre: dict[str, Tensor]
) -> None:
    for k, position in enumerate(positions.tolist()):
        logits, label = base.train_logits[position].double(), int(base.train_labels[position])
        expected = {
            "confidence": initial.confidence(logits, label),
            "margin": initial.margin(logits, label),
            "loss": initial.loss(logits, label),
            "entropy": initial.entropy(logits),
            "el2n": initial.el2n(logits, label),
            "pairwise_boundary_distance": boundary.pairwise_boundary_distance(
                base.head.weight.detach(),
                base.head.bias.detach(),
                base.train_features[position],
                label,
            ),
        }
        for name, value in expected.items():
            assert pre[name][k].item() == pytest.approx(value, rel=1e-4, abs=1e-9), name


def test_grad_norm_equals_the_oracle(base64: BaseModel, positions: Tensor) -> None:
    # In float32 the gradient of a very confident sample is off by up to a percent.
    norms = grad_norm(base64, positions)
    for k, position in enumerate(positions.tolist()):
        image, label = base64.train_inputs[position], int(base64.train_labels[position])
        expected = initial.grad_norm(base64.network, image, label)
        assert norms[k].item() == pytest.approx(expected, rel=1e-9)


def test_grad_norm_of_tied_weights_and_of_a_scalar_equals_the_oracle() -> None:
    base = random_base(Tied())
    norms = grad_norm(base, torch.arange(3))
    for k, (image, label) in enumerate(zip(base.train_inputs[:3], base.train_labels, strict=False)):
        expected = initial.grad_norm(base.network, image, int(label))
        assert norms[k].item() == pytest.approx(expected, rel=1e-9)
