"""Training: recipes, networks that draw, subsets of the data, and how samples are learned."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.oracles.algorithms.retrain import retrain
from tests.oracles.factors import initial, learning
from unlearning import architectures, datasets, models, training
from unlearning.algorithms.retrain import left_out_models
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset, Split
from unlearning.errors import UserError
from unlearning.recipe import Recipe
from unlearning.training import Recorder, Subsets, all_but

CPU = torch.device("cpu")


def test_default_recipe_reaches_97_percent(base: BaseModel) -> None:
    right = base.test_logits.argmax(1) == base.test_labels
    assert right.float().mean() >= 0.97


def test_a_seed_gives_the_same_bits_and_another_seed_others(digits: Dataset) -> None:
    recipe = Recipe(epochs=1)
    first, again = (training.train(digits, "small-cnn", recipe, CPU) for _ in range(2))
    other = training.train(digits, "small-cnn", Recipe(epochs=1, seed=1), CPU)
    sha = [models.weights_sha256(network.state_dict()) for network in (first, again, other)]
    assert sha[0] == sha[1] != sha[2]


def test_mixed_precision_trains_weights_in_single(digits: Dataset) -> None:
    recipe = Recipe(epochs=6, optimizer="sgd", lr=0.05)
    mixed = dataclasses.replace(recipe, mixed_precision=True)
    whole, again, half = (
        training.train(digits, "small-cnn", each, CPU) for each in (recipe, mixed, mixed)
    )
    assert models.weights_sha256(again.state_dict()) == models.weights_sha256(half.state_dict())
    assert models.weights_sha256(whole.state_dict()) != models.weights_sha256(half.state_dict())
    kept = [p for p in half.state_dict().values() if p.is_floating_point()]
    assert {p.dtype for p in kept} == {torch.float32}
    assert any((p != p.bfloat16().float()).any() for p in kept)
    inputs = digits.inputs(digits.test)
    with torch.no_grad():
        shares = [
            (n(inputs).argmax(1) == digits.test.labels).float().mean().item() for n in (whole, half)
        ]
    assert shares[1] == pytest.approx(shares[0], abs=0.03)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"lr": 0.0}, {"optimizer": "lbfgs"}])
def test_recipes_refuse_bad_values(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Recipe(**wrong)  # type: ignore[arg-type]


# Networks that draw random numbers


class Dropping(nn.Module):
    """A network with dropout, with batch normalisation or without."""

    def __init__(self, normed: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4) if normed else nn.Identity()
        self.head = nn.Linear(4 * 36, 10)

    def forward(self, images: Tensor) -> Tensor:
        seen = torch.relu(self.norm(self.first(images))).flatten(1)
        logits: Tensor = self.head(F.dropout(seen, 0.4, training=self.training))
        return logits


def dropping(digits: Dataset, subsets: Subsets, normed: bool = False) -> dict[str, Tensor]:
    """A network with dropout, trained on subsets of 150 digits."""
    with models.seeded(3):
        network = Dropping(normed)
    images, labels = digits.inputs(digits.train)[:150], digits.train.labels[:150]
    recipe = Recipe(epochs=2, batch_size=40, lr=5e-3)
    return training.train_on(subsets, network, images, labels, recipe)


def alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(other[name], tensor) for name, tensor in one.items())


@pytest.mark.parametrize("normed", [False, True])
def test_dropout_follows_from_the_seed(digits: Dataset, normed: bool) -> None:
    everything = Subsets(torch.arange(150)[None])
    first = dropping(digits, everything, normed)
    nobody = all_but(torch.empty(1, 0, dtype=torch.int64), 150)
    assert alike(first, dropping(digits, nobody, normed))
    with ThreadPoolExecutor(3) as pool:  # in which others draw meanwhile
        trials = [pool.submit(dropping, digits, everything, normed) for _ in range(3)]
        assert all(alike(first, trial.result()) for trial in trials)


def test_who_is_left_out_does_not_change_what_is_dropped(digits: Dataset) -> None:
    """Against a plain loop that gives the network whole batches."""
    left_out = [7, 93]
    found = dropping(digits, all_but(torch.tensor(left_out), 150))
    images, labels = digits.inputs(digits.train)[:150], digits.train.labels[:150]
    for k, sample in enumerate(left_out):
        with models.seeded(3):
            network, step = Dropping(), 0
        optimizer = torch.optim.Adam(network.parameters())
        order = torch.Generator().manual_seed(0)
        for _ in range(2):
            for batch in torch.randperm(150, generator=order).split(40):
                for group in optimizer.param_groups:
                    group["lr"] = 5e-3 * (1 + math.cos(math.pi * step / 8)) / 2
                torch.manual_seed(int(np.random.default_rng([0, step]).integers(2**63)))
                losses = F.cross_entropy(network(images[batch]), labels[batch], reduction="none")
                optimizer.zero_grad()
                losses[batch != sample].mean().backward()
                optimizer.step()
                step += 1
        for name, p in network.named_parameters():
            torch.testing.assert_close(found[name][k], p.detach(), rtol=1e-4, atol=1e-6)


# Training on subsets of the data: one sample left out of the base model's own batches

NO_SAMPLE = -1
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


def test_leaving_nobody_out_gives_the_base_model_bit_for_bit() -> None:
    base = trained("resnet18", Recipe(epochs=1, batch_size=5))
    stacked = left_out_models(base, torch.tensor([NO_SAMPLE]))
    assert stacked.keys() == base.state.keys()
    for name, weights in base.state.items():
        assert torch.equal(stacked[name][0], weights), name


@pytest.mark.parametrize(
    ("batch_size", "optimizer"),  # of 13: single samples; 4, 4, 4, 1; all at once
    [(1, "adam"), (4, "sgd"), (20, "adam")],
)
def test_one_left_out_equals_a_plain_loop_that_skips_it(batch_size: int, optimizer: str) -> None:
    recipe = Recipe(epochs=2, lr=1e-3, batch_size=batch_size, optimizer=optimizer)
    base = double(trained("mlp", recipe))
    left_out = torch.tensor([0, 7, 12, NO_SAMPLE])
    stacked = left_out_models(base, left_out)
    for k, position in enumerate(left_out.tolist()):
        for name, weights in retrained(base, position).items():
            torch.testing.assert_close(stacked[name][k], weights, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("seed", "further"), [(5, 2), (2**63 - 1, 1)])
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
            NO_SAMPLE,
            **recipe.settings,
        )
        for name, weights in expected.state_dict().items():
            torch.testing.assert_close(stacked[name][k], weights, rtol=1e-6, atol=1e-9)


# How samples are learned is recorded as it happens, and recording changes nothing


@pytest.fixture(scope="module")
def few() -> Dataset:
    """So many samples that the last batch of 64 is short: 64, 64, 22."""
    return datasets.load("digits", datasets.Source(train_samples=150, test_samples=10))


def normalised(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network whose outputs are others in training than afterwards."""
    size = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(size), nn.Linear(size, classes))


@pytest.mark.parametrize(
    ("arch", "recipe"),
    [
        ("mlp", Recipe(epochs=3, lr=0.02, optimizer="sgd", seed=2, batch_size=149)),
        ("normalised", Recipe(epochs=4, lr=5e-3, seed=1)),
    ],
)
def test_it_is_what_a_plain_loop_sees(
    few: Dataset, arch: str, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, own = architectures.get, {"normalised": normalised}
    monkeypatch.setattr(architectures, "get", lambda name: own.get(name) or get(name))
    recorder = Recorder()
    followed, alone = (training.train(few, arch, recipe, CPU, recorder=r) for r in (recorder, None))
    assert alike(followed.state_dict(), alone.state_dict())
    images, labels = few.inputs(few.train), few.train.labels
    network = models.build(arch, few, recipe.seed)
    seen = learning.logits_seen(network, images, labels, **recipe.settings)
    found = recorder.learning
    for recorded, of in ((found.losses, initial.loss), (found.margins, initial.margin)):
        expected = [[of(row, y) for row, y in zip(rows, labels, strict=True)] for rows in seen]
        assert recorded.dtype == torch.float32
        torch.testing.assert_close(
            recorded.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-3, atol=1e-3
        )
