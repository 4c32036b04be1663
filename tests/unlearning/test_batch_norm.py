"""Networks with batch normalisation: frozen, in batches, and trained again; ResNet-18's stems."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.oracles.algorithms.retrain import retrain
from tests.unlearning.plain_loops import assert_equals_loop, assert_same_weights
from unlearning import algorithms, architectures, models
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset
from unlearning.engine import unlearn
from unlearning.errors import UserError
from unlearning.execution import Execution
from unlearning.recipe import Recipe
from unlearning.sampling import retain_positions
from unlearning.testing import small_base, some_positions

CPU, SEED, COUNT = torch.device("cpu"), 3, 12
RECIPE = Recipe(epochs=1, lr=1e-3, batch_size=6)


class Normed(nn.Module):
    """A convolution with batch normalisation, and some pixels at the end."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Linear(4 * (shape[1] - 2) * (shape[2] - 2), classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(images))
        return logits


@pytest.fixture
def normed(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> BaseModel:
    """In float64, right about all of its twelve training images, which are labelled as it says."""
    monkeypatch.setattr(architectures, "get", lambda name: Normed)
    few = dataclasses.replace(digits, train=digits.train.draw(COUNT), test=digits.test.draw(8))
    network = models.build("own", few).double().train()
    for _ in range(20):
        network(few.inputs(few.train).double())
    splits = [
        dataclasses.replace(split, labels=network.eval()(few.inputs(split).double()).argmax(dim=1))
        for split in (few.train, few.test)
    ]
    data = dataclasses.replace(few, train=splits[0], test=splits[1])
    return BaseModel(network, data, CPU, Origin("own", RECIPE))


def neggrad_in_train_mode(base: BaseModel, position: int, order: Any, steps: int) -> nn.Module:
    model = copy.deepcopy(base.network)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    image, label = base.train_inputs[position], base.train_labels[position]
    for step in range(steps):
        model.train()
        at = torch.from_numpy(order[step])
        retain = nn.functional.cross_entropy(model(base.train_inputs[at]), base.train_labels[at])
        forget = nn.functional.cross_entropy(model(image[None]), label[None])
        optimizer.zero_grad()
        (0.5 * retain - 0.5 * forget).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("execution", Execution)
def test_batch_statistics_equal_a_plain_loop(normed: BaseModel, execution: Execution) -> None:
    algorithm = algorithms.get("neggrad").from_text(
        {"lr": 1e-4, "alpha": 0.5, "retain_batch": 4, "max_steps": 2, "batch_norm": "batch"}
    )
    result = unlearn(normed, algorithm, torch.arange(2), SEED, execution)
    for member, sample in enumerate(normed.dataset.train.ids[:2].tolist()):
        order = retain_positions(SEED, sample, member, COUNT, 2 * 4).reshape(2, 4)
        expected = neggrad_in_train_mode(normed, member, order, int(result.steps[member]))
        assert_same_weights(result.state_of(member), expected.state_dict(), tolerance=1e-8)


def test_running_statistics_stay_frozen_unless_asked(normed: BaseModel) -> None:
    scrub = algorithms.get("scrub").from_text({"max_steps": 2, "retain_batch": 4})
    result = unlearn(normed, scrub, torch.arange(2), SEED)
    assert result.buffers == {}
    for member in range(2):
        assert_equals_loop(result, member, normed, scrub, member, SEED)


def test_without_batch_normalisation_it_is_refused() -> None:
    in_batches = algorithms.get("ga").from_text({"batch_norm": "batch"})
    with pytest.raises(UserError, match="no batch normalisation"):
        unlearn(small_base(), in_batches, some_positions()[1:3], SEED)


def test_retraining_takes_new_running_statistics_along(normed: BaseModel) -> None:
    result = unlearn(normed, algorithms.get("retrain")(), torch.arange(2), SEED)
    assert {*result.buffers} == {name for name, _ in normed.network.named_buffers()}
    for member in range(2):
        expected = retrain(
            lambda: models.build("own", normed.dataset, 0).double(),
            (normed.train_inputs, normed.train_labels),
            member,
            **RECIPE.settings,
        )
        assert_same_weights(result.state_of(member), expected.state_dict(), tolerance=1e-7)


def test_the_cifar_stem_keeps_the_resolution_and_torchvisions_names(digits: Dataset) -> None:
    cifar, imagenet = (models.build(arch, digits) for arch in ("resnet18", "resnet18-imagenet"))
    assert {*cifar.state_dict()} == {*imagenet.state_dict()}
    assert cifar.get_parameter("conv1.weight").shape == (64, 1, 3, 3)
    assert imagenet.get_parameter("conv1.weight").shape == (64, 1, 7, 7)
    assert isinstance(cifar.get_submodule("maxpool"), nn.Identity)
