"""The stacked engine against plain loops that share no code with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.oracles import algorithms as oracles
from tests.oracles.algorithms.retrain import retrain
from tests.oracles.algorithms.salun import saliency_masks
from tests.unlearning.plain_loops import assert_equals_loop, assert_same_weights
from unlearning import algorithms, models, training
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.hyperparameters import Setting
from unlearning.outcome import Status
from unlearning.recipe import Recipe

SEED, SAMPLES = 3, 20
FEW = 8  # the first of them, where a member is slow: they end in as many ways
CPU = torch.device("cpu")
SETTINGS: dict[str, list[dict[str, Any]]] = {
    name: oracles.find(name).SETTINGS for name in oracles.names()
}
CASES = [(name, setting) for name, settings in SETTINGS.items() for setting in settings]
FIRST = [(name, settings[0]) for name, settings in SETTINGS.items() if settings]


@pytest.fixture(scope="module", params=["mlp", pytest.param("small-cnn", marks=pytest.mark.slow)])
def exact(request: pytest.FixtureRequest, digits: Dataset) -> BaseModel:
    """A base model in float64 of either architecture; its recipe is quick to repeat."""
    recipe = Recipe(epochs=4)
    network = training.train(digits, request.param, recipe, CPU)
    return BaseModel(network.double(), digits, CPU, Origin(request.param, recipe))


@pytest.fixture(scope="module")
def positions() -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).permutation(1000)[:SAMPLES].copy())


@pytest.mark.parametrize("name", algorithms.names())
def test_an_algorithm_has_a_plain_loop(name: str) -> None:
    assert name in oracles.names(), f"write the loop in tests/oracles/algorithms/{name}.py"


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_stack_equals_plain_loop(
    exact: BaseModel, positions: Tensor, name: str, setting: dict[str, Any]
) -> None:
    algorithm = algorithms.get(name)(**setting)
    assert exact.origin is not None
    if exact.origin.arch == "small-cnn":
        positions = positions[:FEW]
    result = unlearn(exact, algorithm, positions, SEED)
    for member, position in enumerate(positions.tolist()):
        expected = assert_equals_loop(result, member, exact, algorithm, position, SEED)
        for history, wanted in (
            (result.forget_prob[member], expected.forget_probs),
            (result.forget_loss[member], expected.forget_losses),
        ):
            taken = expected.steps + 1
            np.testing.assert_allclose(history[:taken], wanted, rtol=1e-7, atol=1e-12)
            assert history[taken:].isnan().all()
        for detail in expected.details:
            value = result.details[detail][member]
            assert value == pytest.approx(expected.details[detail], rel=1e-6), detail


def test_retrain_equals_a_plain_loop_over_the_other_samples(exact: BaseModel) -> None:
    assert exact.origin is not None
    arch, recipe = exact.origin.arch, exact.origin.recipe

    def make_network() -> torch.nn.Module:
        return models.build(arch, exact.dataset, recipe.seed).double()

    positions = torch.tensor([0, 500, 999])
    train = (exact.train_inputs, exact.train_labels)
    for execution in Execution:
        result = unlearn(exact, algorithms.get("retrain")(), positions, SEED, execution)
        for member, position in enumerate(positions.tolist()):
            expected = retrain(make_network, train, position, **recipe.settings)
            if result.status[member] is not Status.ALREADY_WRONG:
                # A hundred steps of Adam turn rounding into more than twenty do.
                weights = dict(expected.named_parameters())
                assert_same_weights(result.state_of(member), weights, tolerance=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "setting"), FIRST)
def test_size_and_order_of_the_stack_do_not_matter(
    base64: BaseModel, positions: Tensor, name: str, setting: dict[str, Any]
) -> None:
    algorithm = algorithms.get(name)(**setting)
    positions = positions[:FEW]
    whole = unlearn(base64, algorithm, positions, SEED)
    for order, size in ((torch.arange(FEW), 1), (torch.arange(FEW).flip(0), 3)):
        for rows in order.split(size):
            part = unlearn(base64, algorithm, positions[rows], SEED)
            assert torch.equal(part.steps, whole.steps[rows])
            assert part.status == [whole.status[row] for row in rows]
            for key in base64.params:
                torch.testing.assert_close(
                    part.params[key], whole.params[key][rows], rtol=1e-9, atol=1e-11
                )


def test_masked_out_weights_of_salun_do_not_move_a_bit(base64: BaseModel) -> None:
    position = 11
    settings: list[dict[str, Setting]] = [
        {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
        {"optimizer": "adam", "lr": 1e-3, "weight_decay": 5e-4},
    ]
    for setting in settings:
        algorithm = algorithms.get("salun").from_text({"mask_fraction": 0.2, **setting})
        result = unlearn(base64, algorithm, torch.tensor([position, 12]), SEED)
        image, label = base64.train_inputs[position], int(base64.train_labels[position])
        masks = saliency_masks(base64.network, image, label, 0.2)
        for key, mask in masks.items():
            assert torch.equal(result.params[key][0][~mask], base64.params[key][~mask])
        moved = [(result.params[key][0] != base64.params[key])[masks[key]].any() for key in masks]
        assert any(moved)
