from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from unlearning import datasets, models, training
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.recipe import Recipe

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_default_recipe_reaches_97_percent(digits: datasets.Dataset, seed: int) -> None:
    network = training.train(digits, "small-cnn", Recipe(seed=seed), CPU)
    with torch.no_grad():
        right = network(digits.inputs(digits.test)).argmax(1) == digits.test.labels
    assert right.float().mean() >= 0.97


def test_a_seed_gives_the_same_bits_and_another_seed_others(digits: datasets.Dataset) -> None:
    recipe = Recipe(epochs=1)
    first, again = (training.train(digits, "small-cnn", recipe, CPU) for _ in range(2))
    other = training.train(digits, "small-cnn", Recipe(epochs=1, seed=1), CPU)
    sha = [models.weights_sha256(network.state_dict()) for network in (first, again, other)]
    assert sha[0] == sha[1] != sha[2]


def test_training_leaves_torchs_global_generator_alone(digits: datasets.Dataset) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    training.train(digits, "small-cnn", Recipe(epochs=1), CPU)
    assert torch.equal(torch.rand(1), expected)


def test_sgd_and_the_loss_of_each_epoch(digits: datasets.Dataset) -> None:
    losses: list[float] = []
    recipe = Recipe(epochs=4, optimizer="sgd", lr=0.05)
    training.train(digits, "small-cnn", recipe, CPU, losses.append)
    assert len(losses) == 4
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_mixed_precision_trains_weights_in_single(digits: datasets.Dataset, optimizer: str) -> None:
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


def test_mixed_precision_computes_in_half(digits: datasets.Dataset) -> None:
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
def test_features_are_what_enters_the_last_linear_layer(
    digits: datasets.Dataset, arch: str
) -> None:
    if arch == "resnet18":
        pytest.importorskip("torchvision", reason="resnet18 needs torchvision")
    base = BaseModel(models.build(arch, digits), digits, CPU)
    images = base.test_inputs[:5]
    with torch.no_grad():
        features, logits = base.model.outputs(images)
        torch.testing.assert_close(logits, base.network(images))
        torch.testing.assert_close(logits, base.head(features))


def test_threads_that_build_at_once_come_to_the_same_weights(digits: datasets.Dataset) -> None:
    def weights(seed: int) -> Tensor:
        network = models.build("small-cnn", digits, seed % 2)
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    expected = [weights(seed) for seed in range(2)]
    with ThreadPoolExecutor(4) as pool:
        for seed, built in enumerate(pool.map(weights, range(400))):
            assert torch.equal(built, expected[seed % 2])


def test_unknown_architecture_is_refused(digits: datasets.Dataset) -> None:
    with pytest.raises(UserError, match="small-cnn"):
        models.build("vit", digits)
