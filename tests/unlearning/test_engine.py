"""The engine's own rules: who is run, when a run ends, what is kept and what is drawn."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from unlearning import algorithms, training
from unlearning.algorithms.retrain import left_out_models
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Dataset, Split
from unlearning.engine import faster_execution, unlearn
from unlearning.execution import Execution
from unlearning.losses import log_odds
from unlearning.recipe import Recipe
from unlearning.sampling import retain_positions

SEED = 3
CPU = torch.device("cpu")


def test_a_wrong_label_is_never_the_true_one_and_takes_every_other(base: BaseModel) -> None:
    algorithm = algorithms.get("salun").from_text({"max_steps": 1, "retain_batch": 1})
    zeros = (base.train_labels == 0).nonzero().squeeze(1)
    right = zeros[base.train_logits[zeros].argmax(1) == 0]
    target = unlearn(base, algorithm, right, SEED).details["relabel_target"]
    assert set(target.tolist()) == set(range(1, 10))


def test_the_faster_execution_is_measured(base: BaseModel) -> None:
    assert faster_execution(base, algorithms.get("ga")(), torch.arange(3), SEED) in Execution


def one_pixel(train: list[int], test: list[int]) -> BaseModel:
    """Logits (w0 x, w1 x) with w = (1, 0), in float64, on pixels in hundredths, all of class 0."""

    def split(pixels: list[int]) -> Split:
        images = torch.tensor(pixels, dtype=torch.uint8).reshape(-1, 1, 1, 1)
        ids = torch.arange(len(pixels))
        return Split(images, torch.zeros_like(ids), ids)

    layer = torch.nn.Linear(1, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0], [0.0]])
    network = torch.nn.Sequential(torch.nn.Flatten(), layer).double()
    data = Dataset("pixels", split(train), split(test), ("0", "1"), white=100)
    return BaseModel(network, data, CPU)


class RewoundAscent(algorithms.get("ga")):  # type: ignore[misc]
    """Gradient ascent, rewound as scrub_r is."""

    of_scrub_r = algorithms.get("scrub_r")
    shared, prepare, regret = of_scrub_r.shared, of_scrub_r.prepare, of_scrub_r.regret


@pytest.mark.parametrize("execution", Execution)
def test_flipped_rewound_and_out_of_steps_by_hand(execution: Execution) -> None:
    # A step takes d = w0 - w1 from 1 by 2 lr x (1 - sigmoid(x d)). Under lr 1.8 it becomes, with
    # x = 1.28: -0.003, with 1: 0.032 and -0.854, with 0.35: 0.48 and -0.10, and with 0.1: 0.83,
    # 0.66 and 0.49. Test pixels of 0 have p = 1/2: to that the last steps are nearest, but for x=1.
    base = one_pixel([128, 100, 35, 10], [0, 0])
    ascent = RewoundAscent(optimizer="sgd", lr=1.8, max_steps=3)
    result = unlearn(base, ascent, torch.arange(4), SEED, execution)
    assert result.status == ["flipped", "rewound", "flipped", "max_steps"]
    assert result.steps.tolist() == [1, 2, 2, 3]
    assert result.kept.tolist() == [1, 1, 2, 3]
    for member, x in enumerate((1.28, 1.0, 0.35, 0.1)):
        d = 1.0
        for _ in range(int(result.kept[member])):
            d -= 2 * 1.8 * x / (1 + math.exp(x * d))
        (weights,) = result.state_of(member).values()
        assert weights.flatten().tolist() == pytest.approx([(1 + d) / 2, (1 - d) / 2], rel=1e-6)
    # Where the test set has none of its class, that of the others, 1/2 too, is what p has to be.
    others = dataclasses.replace(base.dataset.test, labels=torch.ones(2, dtype=torch.int64))
    data = dataclasses.replace(base.dataset, test=others)
    same = unlearn(BaseModel(base.network, data, CPU), ascent, torch.arange(4), SEED, execution)
    assert (same.status, same.kept.tolist()) == (result.status, result.kept.tolist())


class Spread(algorithms.get("ga")):  # type: ignore[misc]
    """Gradient ascent whose loss is not one number."""

    def losses(self, step: int) -> Any:
        return (lambda model, forget, *_: model(forget.image[None])[0],)


def test_numbers_are_not_spread_over_members_in_silence(base: BaseModel) -> None:
    with pytest.raises(ValueError, match=r"a loss gives \(10,\), and takes \(\)"):
        unlearn(base, Spread(), torch.arange(2), SEED)


# Members that end on a target of log-odds


@pytest.mark.parametrize("execution", Execution)
def test_the_ends_until_a_target_by_hand(execution: Execution) -> None:
    # phi is x d, and a step takes d from 1 by 2 lr x (1 - sigmoid(x d)). Pixel 1 passes its target
    # at the second step, at the line between 0.032 and -0.854; that of 0.1 never gets there.
    base = one_pixel([100, 10, 35, 128], [0, 0])
    target = torch.tensor([-0.5, -9.0, 0.35, 1.0], dtype=torch.float64)
    ascent = RewoundAscent(optimizer="sgd", lr=1.8, max_steps=3)
    result = unlearn(base, ascent, torch.arange(4), SEED, execution, target=target)
    assert result.status == ["at_reference", "max_steps", "nothing_to_forget", "at_reference"]
    assert result.steps.tolist() == result.kept.tolist() == [2, 3, 0, 1]
    assert result.moved.tolist() == [True, True, False, True]
    for member, x in ((0, 1.0), (3, 1.28)):
        (weights,) = result.state_of(member).values()
        d = (weights[0] - weights[1]).item()
        step = 2 * 1.8 * x  # at most
        assert target[member] - x * step / 2**12 <= x * d <= target[member]
        steps = int(result.steps[member])
        prob = 1 / (1 + math.exp(-x * d))
        assert result.forget_prob[member, steps].item() == pytest.approx(prob)
        assert result.forget_loss[member, steps].item() == pytest.approx(-math.log(prob))
        assert result.forget_prob[member, steps + 1 :].isnan().all()


@pytest.mark.parametrize("execution", Execution)
def test_a_step_of_nan_ends_a_member_before_its_target(
    base: BaseModel, execution: Execution
) -> None:
    class Exploding(algorithms.get("ga")):  # type: ignore[misc]
        def losses(self, step: int) -> Any:
            (ascend,) = super().losses(step)
            at = base.train_labels[0] if step == 2 else -1
            return (
                lambda model, forget, *rest: (
                    ascend(model, forget, *rest) * torch.where(forget.label == at, torch.nan, 1.0)
                ),
            )

    right = base.train_logits.argmax(1) == base.train_labels
    other = int(((base.train_labels != base.train_labels[0]) & right).nonzero()[0])
    positions = torch.tensor([0, other])
    phi = log_odds(base.train_logits[positions], base.train_labels[positions])
    exploding = Exploding(lr=1e-4, max_steps=50)
    result = unlearn(base, exploding, positions, SEED, execution, target=phi - 2)
    once = algorithms.get("ga").from_text({"lr": 1e-4, "max_steps": 1})
    before = unlearn(base, once, positions[:1], SEED, execution, target=phi[:1] - 2)
    assert result.status == ["non_finite", "at_reference"]
    assert int(result.steps[0]) == 1
    for name, weights in before.state_of(0).items():
        torch.testing.assert_close(result.params[name][0], weights)


def test_retraining_is_always_at_the_reference(digits: Dataset) -> None:
    recipe = Recipe(epochs=1)
    network = training.train(digits, "mlp", recipe, CPU)
    base = BaseModel(network, digits, CPU, Origin("mlp", recipe))
    positions, retrain = torch.arange(3), algorithms.get("retrain")()
    never = torch.tensor([-1e6, 0.0, 1e6], dtype=torch.float64)
    result = unlearn(base, retrain, positions, SEED, target=never)
    assert result.status == ["at_reference"] * 3
    assert result.steps.tolist() == [1] * 3
    for name, weights in left_out_models(base, positions).items():
        torch.testing.assert_close((result.params | result.buffers)[name], weights)


# What a member draws: retain samples from all but its own sample, each equally often


def test_retain_draws_leave_the_sample_out_and_use_the_rest_evenly() -> None:
    drawn = retain_positions(seed=0, sample_id=42, position=4, size=10, draws=9 * 5)
    rounds = drawn.reshape(5, 9)
    assert (np.sort(rounds, axis=1) == [0, 1, 2, 3, 5, 6, 7, 8, 9]).all()
    assert len({tuple(order) for order in rounds.tolist()}) == 5
    again = retain_positions(seed=0, sample_id=42, position=4, size=10, draws=7)
    assert (again == drawn[:7]).all()
    assert (retain_positions(1, 42, 4, 10, 45) != drawn).any()
    assert (retain_positions(0, 43, 4, 10, 45) != drawn).any()
    assert len(retain_positions(0, 42, 4, 10, 0)) == 0
