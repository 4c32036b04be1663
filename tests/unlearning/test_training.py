from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlearning import models, training
from unlearning.base_model import BaseModel
from unlearning.dataset import Dataset
from unlearning.errors import UserError
from unlearning.recipe import Recipe
from unlearning.training import Subsets, all_but

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_default_recipe_reaches_97_percent(digits: Dataset, seed: int) -> None:
    network = training.train(digits, "small-cnn", Recipe(seed=seed), CPU)
    with torch.no_grad():
        right = network(digits.inputs(digits.test)).argmax(1) == digits.test.labels
    assert right.float().mean() >= 0.97


def test_a_seed_gives_the_same_bits_and_another_seed_others(digits: Dataset) -> None:
    recipe = Recipe(epochs=1)
    first, again = (training.train(digits, "small-cnn", recipe, CPU) for _ in range(2))
    other = training.train(digits, "small-cnn", Recipe(epochs=1, seed=1), CPU)
    sha = [models.weights_sha256(network.state_dict()) for network in (first, again, other)]
    assert sha[0] == sha[1] != sha[2]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_mixed_precision_trains_weights_in_single(digits: Dataset, optimizer: str) -> None:
    recipe = Recipe(epochs=6, optimizer=optimizer, lr=2e-3 if optimizer == "adam" else 0.05)
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


def test_mixed_precision_computes_in_half(digits: Dataset) -> None:
    seen: set[torch.dtype] = set()

    def forward(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            seen.add(output.dtype)

    handle = nn.modules.module.register_module_forward_hook(forward)
    try:
        training.train(digits, "small-cnn", Recipe(epochs=1, mixed_precision=True), CPU)
    finally:
        handle.remove()
    assert torch.bfloat16 in seen


def test_a_recipe_is_known_as_before_where_nothing_new_is_asked_for() -> None:
    assert "mixed_precision" not in Recipe().settings
    for recipe in (Recipe(seed=5), Recipe(lr=0.1, optimizer="sgd", mixed_precision=True)):
        assert Recipe.read({name: str(value) for name, value in recipe.settings.items()}) == recipe


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"lr": 0.0}, {"batch_size": 0}, {"optimizer": "lbfgs"}, {"seed": -1}]
)
def test_recipes_refuse_bad_values(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Recipe(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("arch", ["small-cnn", "mlp", "resnet18"])
def test_features_are_what_enters_the_last_linear_layer(digits: Dataset, arch: str) -> None:
    base = BaseModel(models.build(arch, digits), digits, CPU)
    images = base.test_inputs[:5]
    with torch.no_grad():
        features, logits = base.model.outputs(images)
        torch.testing.assert_close(logits, base.network(images))
        torch.testing.assert_close(logits, base.head(features))


def test_threads_that_build_at_once_come_to_the_same_weights(digits: Dataset) -> None:
    def weights(seed: int) -> Tensor:
        network = models.build("small-cnn", digits, seed % 2)
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    expected = [weights(seed) for seed in range(2)]
    with ThreadPoolExecutor(4) as pool:
        for seed, built in enumerate(pool.map(weights, range(400))):
            assert torch.equal(built, expected[seed % 2])


# Networks that draw random numbers, and parameters that do not train


class Dropping(nn.Module):
    """A network with dropout, with batch normalisation or without, some of which may be frozen."""

    def __init__(self, normed: bool = False, frozen: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4) if normed else nn.Identity()
        self.head = nn.Linear(4 * 36, 10)
        self.first.weight.requires_grad_(not frozen)

    def forward(self, images: Tensor) -> Tensor:
        seen = torch.relu(self.norm(self.first(images))).flatten(1)
        logits: Tensor = self.head(F.dropout(seen, 0.4, training=self.training))
        return logits


SOME = Recipe(epochs=2, batch_size=40, lr=5e-3)
NOBODY = all_but(torch.empty(1, 0, dtype=torch.int64), 150)


def dropping(digits: Dataset, subsets: Subsets, **kind: bool) -> dict[str, Tensor]:
    """A network with dropout, trained on subsets of 150 digits."""
    with models.seeded(3):
        network = Dropping(**kind)
    images, labels = digits.inputs(digits.train)[:150], digits.train.labels[:150]
    return training.train_on(subsets, network, images, labels, SOME)


def alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(other[name], tensor) for name, tensor in one.items())


@pytest.mark.parametrize("normed", [False, True])
def test_dropout_follows_from_the_seed(digits: Dataset, normed: bool) -> None:
    everything = Subsets(torch.arange(150)[None])
    first = dropping(digits, everything, normed=normed)
    torch.rand(1)  # what others draw
    assert alike(first, dropping(digits, everything, normed=normed))
    assert alike(first, dropping(digits, NOBODY, normed=normed))
    with ThreadPoolExecutor(3) as pool:
        trials = [pool.submit(dropping, digits, everything, normed=normed) for _ in range(3)]
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


def test_what_does_not_train_is_not_retrained(digits: Dataset) -> None:
    with models.seeded(3):
        before = Dropping(frozen=True).first.weight.detach()
    found = dropping(digits, all_but(torch.tensor([3, 5]), 150), frozen=True)
    assert all(torch.equal(weights, before) for weights in found["first.weight"])
    assert not torch.equal(found["first.bias"][0], found["first.bias"][1])


@pytest.mark.parametrize("arch", ["small-cnn", "mlp", "resnet18"])
def test_ours_draw_nothing(digits: Dataset, arch: str) -> None:
    network, images = models.build(arch, digits), digits.inputs(digits.train)[:2]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert not models.draws(network, images)
    assert models.draws(Dropping(), images)
    assert alike(before, network.state_dict())
