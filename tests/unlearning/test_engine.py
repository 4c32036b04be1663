"""The engine's own rules: who is run, when a run ends, what is kept and what is drawn."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from unlearning import algorithms
from unlearning.algorithm import State, Stepwise, forget_loss
from unlearning.base_model import BaseModel
from unlearning.dataset import Dataset, Split
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.outcome import Status
from unlearning.sampling import retain_positions

SEED = 3
CPU = torch.device("cpu")


def test_a_wrong_label_is_never_the_true_one_and_takes_every_other(base: BaseModel) -> None:
    algorithm = algorithms.get("salun").from_text({"max_steps": 1, "retain_batch": 1})
    zeros = (base.train_labels == 0).nonzero().squeeze(1)
    right = zeros[base.train_logits[zeros].argmax(1) == 0]
    target = unlearn(base, algorithm, right, SEED).details["relabel_target"]
    assert set(target.tolist()) == set(range(1, 10))


def test_already_wrong_samples_are_not_run(base: BaseModel) -> None:
    wrong = (base.train_logits.argmax(1) != base.train_labels).nonzero().squeeze(1)
    assert len(wrong)
    positions = torch.cat([torch.tensor([0]), wrong[:1], torch.tensor([1])])
    result = unlearn(base, algorithms.get("ga").from_text({"lr": 1e-3}), positions, SEED)
    assert result.status[1] is Status.ALREADY_WRONG
    assert Status.ALREADY_WRONG not in (result.status[0], result.status[2])
    assert result.steps[1] == 0
    assert all(torch.equal(result.params[key][1], base.params[key]) for key in base.params)
    only = unlearn(base, algorithms.get("ga")(), wrong[:1], SEED)
    assert only.status == [Status.ALREADY_WRONG]


def test_a_non_finite_member_does_not_touch_its_neighbours(base: BaseModel) -> None:
    class Exploding(algorithms.get("ga")):  # type: ignore[misc]
        def losses(self, step: int) -> Any:
            (ascend,) = super().losses(step)
            return (
                lambda model, forget, *rest: (
                    ascend(model, forget, *rest)
                    * torch.where(forget.label == base.train_labels[0], torch.nan, 1.0)
                ),
            )

    other = int((base.train_labels != base.train_labels[0]).nonzero()[0])
    result = unlearn(base, Exploding(lr=1e-3), torch.tensor([0, other]), SEED)
    alone = unlearn(base, algorithms.get("ga").from_text({"lr": 1e-3}), torch.tensor([other]), SEED)
    assert result.status == [Status.NON_FINITE, alone.status[0]]
    assert result.steps.tolist() == [0, alone.steps[0]]
    for key in base.params:
        torch.testing.assert_close(result.params[key][1], alone.params[key][0])


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
    # Where the flip is just out of reach, the same member is one of those that ran out of steps.
    for algorithm in (dataclasses.replace(ascent, max_steps=1), RewoundAscent(lr=1e-9)):
        assert unlearn(base, algorithm, torch.tensor([1]), SEED, execution).status == ["max_steps"]


@dataclass(frozen=True, kw_only=True)
class Odd(Stepwise):
    """Gradient ascent, until a method gives numbers of another shape."""

    name: ClassVar[str] = "odd"
    citation: ClassVar[str] = "nobody"
    logged: ClassVar[tuple[str, ...]] = ("own",)

    def losses(self, step: int) -> Any:
        return (lambda model, forget, *_: -forget_loss(model, forget),)

    def report(self, state: State, steps: Tensor, kept: Tensor) -> Any:
        return {"own": steps.double()}


ODD: dict[str, tuple[str, Any]] = {
    "losses": ("losses", lambda *_: (lambda model, forget, *_: model(forget.image[None])[0],)),
    "constraint": (
        "constraint",
        lambda _: lambda params, *_: {name: p.sum() for name, p in params.items()},
    ),
    "regret": ("regret", lambda *_: torch.ones(1)),
    "report": ("report", lambda *_: {"own": torch.ones(3)}),
}


@pytest.mark.parametrize("execution", Execution)
@pytest.mark.parametrize("wrong", ODD)
def test_numbers_are_not_spread_over_members_in_silence(
    base: BaseModel, wrong: str, execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unlearn(base, Odd(), torch.arange(2), SEED, execution).moved.all()
    monkeypatch.setattr(Odd, *ODD[wrong])
    with pytest.raises(ValueError, match="takes"):
        unlearn(base, Odd(), torch.arange(2), SEED, execution)


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
