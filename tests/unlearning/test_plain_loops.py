"""The stacked engine against plain loops that share no code with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.oracles import algorithms as oracles
from tests.unlearning.plain_loops import assert_equals_loop
from unlearning import algorithms, training
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.losses import log_odds
from unlearning.recipe import Recipe

SEED, SAMPLES = 3, 8
CPU = torch.device("cpu")
SETTINGS: dict[str, list[dict[str, Any]]] = {
    name: oracles.find(name).SETTINGS for name in oracles.names()
}
CASES = [(name, setting) for name, settings in SETTINGS.items() for setting in settings]


@pytest.fixture(scope="module", params=["mlp", pytest.param("small-cnn", marks=pytest.mark.slow)])
def exact(request: pytest.FixtureRequest, digits: Dataset) -> BaseModel:
    """A base model in float64 of either architecture; its recipe is quick to repeat."""
    recipe = Recipe(epochs=4)
    network = training.train(digits, request.param, recipe, CPU)
    return BaseModel(network.double(), digits, CPU, Origin(request.param, recipe))


@pytest.fixture(scope="module")
def positions() -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).permutation(1000)[:SAMPLES].copy())


def test_every_algorithm_has_a_plain_loop() -> None:
    missing = {*algorithms.names()} - {*oracles.names()}
    assert not missing, "write the loop in tests/oracles/algorithms/NAME.py"


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_stack_equals_plain_loop(
    exact: BaseModel, positions: Tensor, name: str, setting: dict[str, Any]
) -> None:
    algorithm = algorithms.get(name)(**setting)
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


# Log-odds below the base model's at which members end: one is there already, one never is.
BELOW = torch.tensor([0.2, 1.0, -0.5, 3.0, 8.0, 1e300], dtype=torch.float64)


UNTIL = [
    *((name, Execution.STACKED) for name in algorithms.names() if SETTINGS[name]),
    ("ga", Execution.SEQUENTIAL),
]


@pytest.mark.parametrize(("name", "execution"), UNTIL)
def test_stack_equals_plain_loop_until_a_target(
    exact: BaseModel, positions: Tensor, name: str, execution: Execution
) -> None:
    algorithm = algorithms.get(name)(**SETTINGS[name][-1])
    positions = positions[: len(BELOW)]
    phi = log_odds(exact.train_logits[positions], exact.train_labels[positions])
    targets = phi - BELOW
    result = unlearn(exact, algorithm, positions, SEED, execution, target=targets)
    for member, position in enumerate(positions.tolist()):
        target = targets[member].item()
        expected = assert_equals_loop(result, member, exact, algorithm, position, SEED, target)
        taken = expected.steps + 1
        found = result.forget_prob[member, :taken]
        np.testing.assert_allclose(found, expected.forget_probs, rtol=1e-7, atol=1e-12)
        assert int(result.kept[member]) == expected.steps
    assert result.status[2] == "nothing_to_forget"
    if name in ("ga", "neggrad"):
        assert "at_reference" in result.status
        assert result.status[-1] in ("max_steps", "non_finite")
