"""What attempts come to: GT, performance, the membership attack, steps and seconds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import factors
from factors.evaluation import Chunk, evaluate
from factors.family import post_values
from factors.outcome import best_attack, ground_truth
from tests.oracles.factors import cost, membership, outcome, performance
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
}


def test_gt_equals_the_oracle(chunk: Chunk, post: dict[str, Tensor]) -> None:
    for k in range(1, len(chunk.positions)):
        u, f = 1 - post["test_prob_diff"][k].item(), post["forget_prob_diff"][k].item()
        expected = outcome.gt(u, f, outcome.lambda_set_sizes(797))
        assert expected is not None
        assert post["gt"][k].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("u", "f", "lam", "gt"),
    [
        (1.0, 1.0, 1.0, 0.5),
        (0.5, 0.25, 1.0, 1 / 6),  # 0.125 / 0.75
        (0.8, 0.4, 0.5, 0.2),  # 0.16 / 0.8
        (0.0, 0.5, 1.0, 0.0),
        (0.5, -0.5, 1.0, 0.0),
        (0.0, 0.0, 1.0, 0.0),
        (math.nan, 0.5, 1.0, math.nan),
        (0.5, math.nan, 1.0, math.nan),
    ],
)
def test_gt_by_hand(u: float, f: float, lam: float, gt: float) -> None:
    utility, forgetting = torch.tensor([u, f], dtype=torch.float64)
    result = ground_truth(utility, forgetting, lam).item()
    assert result == pytest.approx(gt, rel=1e-12, nan_ok=True)


def test_cost_is_what_the_engine_counted(chunk: Chunk, post: dict[str, Tensor]) -> None:
    assert torch.equal(post["steps"][1:], chunk.unlearned.steps[1:].double())
    assert torch.equal(post["elapsed_s"][1:], chunk.unlearned.elapsed_s[1:])
    for k in range(1, len(chunk.positions)):
        expected = cost.steps(chunk.unlearned.forget_prob[k].tolist())
        assert post["steps"][k].item() == expected


@pytest.mark.slow
def test_performance_equals_the_oracle(chunk: Chunk, post: dict[str, Tensor]) -> None:
    base = chunk.base
    for k, position in list(enumerate(chunk.positions.tolist()))[1:]:
        test, train = chunk.test_logits[k], chunk.train_logits[k]
        test_labels, labels = base.test_labels, base.train_labels
        own = base.train_logits[position], train[position], int(labels[position])
        expected = {
            "test_accuracy": performance.test_accuracy(test, test_labels),
            "test_loss_diff": performance.test_loss_diff(base.test_logits, test, test_labels),
            "test_prob_diff": performance.test_prob_diff(base.test_logits, test, test_labels),
            "remaining_accuracy": performance.remaining_accuracy(train, labels, position),
            "remaining_loss_diff": performance.remaining_loss_diff(
                base.train_logits, train, labels, position
            ),
            "forget_prob_diff": performance.forget_prob_diff(*own),
            "forget_loss_diff": performance.forget_loss_diff(*own),
        }
        for name, value in expected.items():
            assert post[name][k].item() == pytest.approx(value, rel=1e-10, abs=1e-12), name


def test_membership_equals_an_exhaustive_search(chunk: Chunk, post: dict[str, Tensor]) -> None:
    base = chunk.base
    for k, position in list(enumerate(chunk.positions.tolist()))[1:]:
        train = np.exp(chunk.train_log_prob[k].numpy())
        test = np.exp(chunk.test_log_prob[k].numpy())
        rest = np.delete(np.arange(len(train)), position)
        label = int(base.train_labels[position])
        members = membership.of_class(train[rest], base.train_labels[rest], label)
        others = membership.of_class(test, base.test_labels, label)
        forgotten = membership.mia_forgotten(members, others, train[position])
        assert post["mia_forgotten"][k].item() == forgotten
        strength = post["mia_attack_strength"][k].item()
        expected = membership.mia_attack_strength(members, others)
        assert strength == pytest.approx(expected, abs=1e-9)


def test_best_attack_with_ties_equals_an_exhaustive_search() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        members = random.integers(0, 6, random.integers(1, 12)) / 5
        others = random.integers(0, 6, random.integers(1, 12)) / 5
        threshold = best_attack(torch.from_numpy(members), torch.from_numpy(others))[0].item()
        assert threshold == membership.membership_attack(members, others, 0.0)[0]


def test_best_attack_without_one_side_is_undefined() -> None:
    some, none = torch.tensor([0.5]).double(), torch.empty(0).double()
    assert best_attack(some, none)[0].isnan()
    assert best_attack(none, some)[0].isnan()


@pytest.mark.parametrize(("name", "remaining"), [("ssd", None), ("ga", 100)])
def test_nothing_happened_is_nothing(name: str, remaining: int | None, base: BaseModel) -> None:
    right = (base.train_logits.argmax(1) == base.train_labels).nonzero().squeeze(1)[:5]
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
