"""ResNet-18 with batch normalisation, on a few random images in the shape of CIFAR's."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.oracles import algorithms as oracles
from tests.oracles.algorithms.retrain import retrain
from tests.unlearning.plain_loops import assert_equals_loop, assert_same_weights
from unlearning import algorithms, models
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset, Split
from unlearning.engine import unlearn
from unlearning.errors import UserError
from unlearning.execution import Execution
from unlearning.outcome import Status
from unlearning.recipe import Recipe
from unlearning.sampling import retain_positions

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
SEED = 3
SETTINGS: dict[str, dict[str, Any]] = {
    name: oracles.find(name).RESNET
    for name in ("ga", "influence", "neggrad", "salun", "scrub", "ssd")
}  # the others are made of the same parts; all are compared on small networks


def cifar_shaped(train: int, side: int = 8) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    count = train + 8
    shape = (count, 3, side, side)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    ids = torch.arange(count)
    return Dataset(
        name="random",
        train=Split.of(images, ids % 10, ids[:train]),
        test=Split.of(images, ids % 10, ids[train:]),
        classes=tuple("0123456789"),
        white=255,
    )


def settled(data: Dataset) -> tuple[nn.Module, Dataset]:
    """An untrained ResNet-18 with running statistics of the data, which is labelled as it says."""
    network = models.build("resnet18", data).train()
    for _ in range(20):
        network(data.inputs(data.train))
    network.eval()
    with torch.no_grad():
        splits = [
            dataclasses.replace(split, labels=network(data.inputs(split)).argmax(dim=1))
            for split in (data.train, data.test)
        ]
    return network, dataclasses.replace(data, train=splits[0], test=splits[1])


def right_about_all(side: int) -> BaseModel:
    """In float64, right about all of its twelve training images."""
    network, data = settled(cifar_shaped(12, side))
    recipe = Recipe(epochs=1, lr=1e-3, batch_size=6)
    return BaseModel(network.double(), data, CPU, Origin("resnet18", recipe))


@pytest.fixture(scope="module")
def resnet() -> BaseModel:
    """Of the smallest images that leave one pixel at the end."""
    return right_about_all(8)


@pytest.fixture(scope="module")
def larger() -> BaseModel:
    """Of images with more than a pixel at the end, which has statistics of its own."""
    return right_about_all(16)


def test_the_cifar_stem_keeps_the_resolution_and_torchvisions_names() -> None:
    data = cifar_shaped(2)
    cifar, imagenet = (models.build(arch, data) for arch in ("resnet18", "resnet18-imagenet"))
    assert set(cifar.state_dict()) == set(imagenet.state_dict())
    assert cifar.get_parameter("conv1.weight").shape == (64, 3, 3, 3)
    assert imagenet.get_parameter("conv1.weight").shape == (64, 3, 7, 7)
    assert isinstance(cifar.get_submodule("maxpool"), nn.Identity)
    grey = dataclasses.replace(
        data,
        train=dataclasses.replace(data.train, images=data.train.images[:, :1]),
    )
    for arch in ("resnet18", "resnet18-imagenet"):
        assert models.build(arch, grey).get_parameter("conv1.weight").shape[1] == 1


@pytest.mark.parametrize("name", SETTINGS)
def test_stack_equals_plain_loop_on_two_images(resnet: BaseModel, name: str) -> None:
    algorithm = algorithms.get(name).from_text(SETTINGS[name])
    positions = torch.arange(2)
    result = unlearn(resnet, algorithm, positions, SEED, Execution.STACKED)
    assert Status.ALREADY_WRONG not in result.status
    for member, position in enumerate(positions.tolist()):
        assert_equals_loop(result, member, resnet, algorithm, position, SEED)


def test_stacked_and_one_by_one_agree_on_two_images_of_cifars_size() -> None:
    network, data = settled(cifar_shaped(4, side=32))
    base = BaseModel(network.double(), data, CPU)
    algorithm = algorithms.get("ga").from_text({"lr": 1e-4, "max_steps": 2})
    stacked, alone = (unlearn(base, algorithm, torch.arange(2), SEED, e) for e in Execution)
    assert stacked.status == alone.status
    assert torch.equal(stacked.steps, alone.steps)
    for member in range(2):
        assert_same_weights(stacked.state_of(member), alone.state_of(member))


def test_running_statistics_stay_frozen_unless_asked(resnet: BaseModel) -> None:
    ga = algorithms.get("ga").from_text({"max_steps": 1})
    assert unlearn(resnet, ga, torch.arange(2), SEED).buffers == {}


@pytest.mark.parametrize("execution", Execution)
def test_batch_statistics_equal_a_plain_loop(larger: BaseModel, execution: Execution) -> None:
    algorithm = algorithms.get("neggrad").from_text(
        {"lr": 1e-4, "alpha": 0.5, "retain_batch": 4, "max_steps": 2, "batch_norm": "batch"}
    )
    positions = torch.arange(2)
    result = unlearn(larger, algorithm, positions, SEED, execution)
    for member, position in enumerate(positions.tolist()):
        order = retain_positions(SEED, position, position, 12, 2 * 4).reshape(2, 4)
        expected = neggrad_in_train_mode(larger, position, order, int(result.steps[member]))
        assert_same_weights(result.state_of(member), expected.state_dict(), tolerance=1e-8)


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


def test_batch_statistics_need_batch_normalisation(base: BaseModel) -> None:
    algorithm = algorithms.get("ga").from_text({"batch_norm": "batch"})
    with pytest.raises(UserError, match="no batch normalisation"):
        unlearn(base, algorithm, torch.arange(2), SEED)


def test_retraining_takes_new_running_statistics_along(resnet: BaseModel) -> None:
    assert resnet.origin is not None
    recipe = resnet.origin.recipe
    result = unlearn(resnet, algorithms.get("retrain")(), torch.arange(2), SEED)
    names = [name for name, _ in resnet.network.named_buffers()]
    assert set(result.buffers) == set(names)
    for member in range(2):
        network = plain_training(resnet, member, recipe)
        state = result.state_of(member)
        assert_same_weights(state, network.state_dict(), tolerance=1e-7)


def plain_training(base: BaseModel, left_out: int, recipe: Recipe) -> nn.Module:
    def make() -> nn.Module:
        return models.build("resnet18", base.dataset, recipe.seed).double()

    train = (base.train_inputs, base.train_labels)
    return retrain(make, train, left_out, **recipe.settings)
