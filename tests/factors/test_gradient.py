"""What one backward pass says about a sample."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from factors.gradient import gradient
from tests.factors.small_bases import Tied, base_of, normalised, random_base, split_of
from tests.oracles.factors import gradient as oracle
from unlearning.base_model import BaseModel


def expected_of(base: BaseModel) -> list[dict[str, float]]:
    """All columns of every training sample, by the oracle."""
    network, labels = base.network, base.train_labels
    assert base.head_name is not None
    gradients = oracle.loss_gradients(network, base.train_inputs, labels)
    test = oracle.probability_gradient(network, base.test_inputs, base.test_labels)
    return [
        {
            "last_layer_grad_norm": oracle.last_layer_grad_norm(network, base.head_name, *sample),
            "retain_cosine": oracle.retain_cosine(gradients, k),
            "class_cosine": oracle.class_cosine(gradients, labels, k),
            "hamu_curvature": oracle.hamu_curvature(gradients, k),
            "input_grad_norm": oracle.input_grad_norm(network, *sample),
            "first_order_step_sgd": oracle.first_order_step_sgd(network, *sample),
            "first_order_step_adam": oracle.first_order_step_adam(network, *sample),
            "first_order_damage_sgd": oracle.first_order_damage_sgd(network, *sample, test),
            "first_order_damage_adam": oracle.first_order_damage_adam(network, *sample, test),
        }
        for k, sample in enumerate(zip(base.train_inputs, labels.tolist(), strict=True))
    ]


@pytest.mark.parametrize("network", [normalised, Tied])
def test_every_column_equals_the_oracle(network: Callable[[], nn.Module]) -> None:
    base = random_base(network())
    found = gradient(base, torch.arange(20))
    for k, expected in enumerate(expected_of(base)):
        assert set(found) == set(expected)
        for name, value in expected.items():
            close = pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True)
            assert found[name][k].item() == close, (name, k)
    defined = found["first_order_step_sgd"].isfinite()
    assert defined.tolist() == (base.train_logits.argmax(1) == base.train_labels).tolist()
    assert 0 < defined.sum() < 20


def test_references_over_some_of_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factors.gradient.MOST", 8)
    base = random_base(normalised())
    labels, seen = base.train_labels.tolist(), base.some(8).tolist()
    gradients = oracle.loss_gradients(base.network, base.train_inputs, base.train_labels)
    found = gradient(base, torch.arange(20))
    for k in range(20):
        others = [i for i in seen if i != k]
        some, their_labels = ([rows[i] for i in (*others, k)] for rows in (gradients, labels))
        last = len(others)
        expected = {
            "retain_cosine": oracle.retain_cosine(some, last),
            "class_cosine": oracle.class_cosine(some, torch.tensor(their_labels), last),
            "hamu_curvature": oracle.hamu_curvature(some, last),
        }
        for name, value in expected.items():
            assert found[name][k].item() == pytest.approx(value, rel=1e-9, nan_ok=True), (name, k)


def linear(*weight: list[float]) -> nn.Module:
    """Logits W x of a flat image."""
    layer = nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight.data = torch.tensor(weight)
    return nn.Sequential(nn.Flatten(), layer)


def test_what_is_undefined() -> None:
    # The first is alone in its class, the second is wrong; p of the third is one: its gradient is
    # zero, and the network has no parameter by which another image would change its margin.
    train = split_of([[1, 0], [0, 1], [0, 0]], [0, 1, 1])
    network = linear([1.0, 1.0], [0.0, 0.0], [-99.0, -99.0])
    found = gradient(base_of(network, train, train, white=1), torch.arange(3))
    undefined = {name: values.isnan().tolist() for name, values in found.items()}
    assert undefined["class_cosine"] == [True, True, True]
    assert undefined["retain_cosine"] == [False, False, True]
    assert undefined["hamu_curvature"] == [False, False, True]
    for name in ("step_sgd", "step_adam", "damage_sgd", "damage_adam"):
        assert undefined[f"first_order_{name}"] == [False, True, True]
    assert found["input_grad_norm"][2] > 0
