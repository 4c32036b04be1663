"""Where nothing moved, nothing has changed: statuses, differences, distances and GT are exact."""

import pytest
import torch
from torch import Tensor

import factors
from factors import evaluation
from factors.evaluation import evaluate
from factors.family import post_values
from unlearning import algorithms
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.hyperparameters import Setting
from unlearning.outcome import Status

ZERO = [
    "gt",
    "test_loss_diff",
    "test_prob_diff",
    "remaining_loss_diff",
    "forget_prob_diff",
    "forget_loss_diff",
    "model_distance_abs",
    "model_distance_l2",
    "model_distance_kl",
    "activation_distance",
    "feature_distance",
]
IDLE: dict[str, dict[str, Setting]] = {
    "ssd": {"alpha": 2.0**31 - 1},  # selects no weight
    "ga": {"optimizer": "sgd", "lr": 1e-30},  # less than a bit
    "ft": {"optimizer": "sgd", "lr": 1e-30},
}


@pytest.fixture
def right(base: BaseModel) -> Tensor:
    return (base.train_logits.argmax(1) == base.train_labels).nonzero().squeeze(1)[:5]


@pytest.mark.parametrize("name", IDLE)
@pytest.mark.parametrize("remaining", [None, 100])
def test_nothing_happened_is_nothing(
    name: str, remaining: int | None, base: BaseModel, right: Tensor
) -> None:
    algorithm = algorithms.get(name).from_text(IDLE[name])
    unlearned = unlearn(base, algorithm, right, 0)
    assert set(unlearned.status) == {Status.UNCHANGED}
    assert not unlearned.moved.any()
    chunk = evaluate(base, right, unlearned, base.some(remaining))
    values = post_values(chunk, factors.families())
    for factor in ZERO:
        assert (values[factor] == 0).all(), factor
    accuracy = (base.test_logits.argmax(1) == base.test_labels).double().mean()
    assert (values["test_accuracy"] == accuracy).all()


def test_what_did_not_move_is_not_evaluated(
    base: BaseModel, right: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = (base.train_logits.argmax(1) != base.train_labels).nonzero().squeeze(1)[:1]
    unlearned = unlearn(base, algorithms.get("ga").from_text({"lr": 1e-3}), wrong, 0)
    idle = unlearn(base, algorithms.get("ssd").from_text(IDLE["ssd"]), right, 0)
    _ = base.test_outputs, base.train_outputs

    def refused(*_: object) -> None:
        raise AssertionError("a pass that is not needed")

    monkeypatch.setattr(evaluation, "outputs", refused)
    monkeypatch.setattr(evaluation, "logits", refused)
    for positions, nothing in ((wrong, unlearned), (right, idle)):
        for remaining in (None, 100):
            chunk = evaluate(base, positions, nothing, base.some(remaining))
            assert torch.equal(chunk.test_logits[0], base.test_logits)
            assert torch.equal(chunk.train_logits[0], base.train_logits[chunk.seen])
            assert torch.equal(chunk.forget_logits, base.train_logits[positions])


def test_what_moved_is_told_apart(base: BaseModel, right: Tensor) -> None:
    unlearned = unlearn(
        base, algorithms.get("ga").from_text({"lr": 1e-5, "max_steps": 1}), right, 0
    )
    assert unlearned.moved.all()
    assert Status.UNCHANGED not in unlearned.status
    values = post_values(evaluate(base, right, unlearned, base.some(None)), factors.families())
    assert (values["model_distance_abs"] > 0).all()


def test_a_member_whose_first_step_was_not_finite_did_not_move(
    base: BaseModel, right: Tensor
) -> None:
    algorithm = algorithms.get("ga").from_text({"optimizer": "sgd"})
    object.__setattr__(algorithm, "lr", 1e38)  # larger than is accepted, to get there in a step
    unlearned = unlearn(base, algorithm, right, 0)
    lost = [k for k, status in enumerate(unlearned.status) if status is Status.NON_FINITE]
    assert lost
    still = [k for k in lost if not unlearned.steps[k]]
    assert not unlearned.moved[still].any()
