"""Training on subsets of the data: one sample left out of the base model's own batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.oracles.algorithms.retrain import retrain
from unlearning import models, training
from unlearning.algorithms.retrain import left_out_models
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset, Split
from unlearning.recipe import Recipe
from unlearning.training import Subsets

CPU = torch.device("cpu")
NOBODY = -1
SAMPLES = 13


def coloured() -> Dataset:
    """A few random images with three channels, of which a base model has another memory format."""
    images = torch.randint(0, 256, (SAMPLES + 4, 3, 8, 8), generator=torch.Generator())
    ids = torch.arange(SAMPLES + 4)
    train, test = (
        Split.of(images.to(torch.uint8), ids % 10, part) for part in (ids[:-4], ids[-4:])
    )
    return Dataset("random", train, test, tuple("0123456789"), white=255)


def trained(arch: str, recipe: Recipe) -> BaseModel:
    data = coloured()
    network = training.train(data, arch, recipe, CPU)
    return BaseModel(network, data, CPU, Origin(arch, recipe))


def double(base: BaseModel) -> BaseModel:
    return BaseModel(base.network.double(), base.dataset, CPU, base.origin)


def retrained(base: BaseModel, left_out: int) -> dict[str, Tensor]:
    """By the oracle's plain loop, in float64."""
    assert base.origin is not None
    arch, recipe = base.origin.arch, base.origin.recipe
    network = retrain(
        lambda: models.build(arch, base.dataset, recipe.seed).double(),
        (base.train_inputs, base.train_labels),
        left_out,
        **recipe.settings,
    )
    return network.state_dict()


@pytest.mark.parametrize("arch", ["small-cnn", "mlp", "resnet18"])
def test_leaving_nobody_out_gives_the_base_model_bit_for_bit(arch: str) -> None:
    base = trained(arch, Recipe(epochs=3, batch_size=5))
    stacked = left_out_models(base, torch.tensor([NOBODY]))
    assert stacked.keys() == base.state.keys()
    for name, weights in base.state.items():
        assert torch.equal(stacked[name][0], weights), name


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("batch_size", [1, 4, 5, 20])  # of 13: single samples; 4, 4, 4, 1; ...
def test_one_left_out_equals_a_plain_loop_that_skips_it(optimizer: str, batch_size: int) -> None:
    recipe = Recipe(epochs=3, lr=1e-3, batch_size=batch_size, optimizer=optimizer)
    base = double(trained("mlp", recipe))
    left_out = torch.tensor([0, 7, 12, NOBODY])
    stacked = left_out_models(base, left_out)
    for k, position in enumerate(left_out.tolist()):
        for name, weights in retrained(base, position).items():
            torch.testing.assert_close(stacked[name][k], weights, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("seed", "further"), [(0, 1), (5, 2), (2**63 - 1, 1)])
def test_another_seed_than_the_base_models_own(seed: int, further: int) -> None:
    base = double(trained("mlp", Recipe(epochs=2, seed=seed)))
    other = Recipe(epochs=2, seed=(seed + further) % 2**63)
    again = BaseModel(base.network, base.dataset, CPU, Origin("mlp", other))
    stacked = left_out_models(base, torch.tensor([3]), further_seed=further)
    for name, weights in retrained(again, 3).items():
        torch.testing.assert_close(stacked[name][0], weights, rtol=1e-6, atol=1e-9)


def test_parts_have_batches_of_their_own() -> None:
    base = double(trained("mlp", Recipe(epochs=2, batch_size=4)))
    assert base.origin is not None
    recipe = base.origin.recipe
    parts = torch.tensor([[0, 2, 3, 5, 8, 9], [1, 2, 6, 7, 10, 11]])
    network = models.build("mlp", base.dataset, recipe.seed).double()
    images, labels = base.train_inputs, base.train_labels
    stacked = training.train_on(Subsets(parts), network, images, labels, recipe)
    for k, part in enumerate(parts):
        expected = retrain(
            lambda: models.build("mlp", base.dataset, recipe.seed).double(),
            (base.train_inputs[part], base.train_labels[part]),
            NOBODY,
            **recipe.settings,
        )
        for name, weights in expected.state_dict().items():
            torch.testing.assert_close(stacked[name][k], weights, rtol=1e-6, atol=1e-9)
