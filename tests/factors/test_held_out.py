"""The test samples on which probes and the index are evaluated."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch

from factors.index import forecast
from factors.line_search import NEAR, TEST_SAMPLES, drawn, held_out
from tests.factors.test_index import algorithm
from unlearning.base_model import BaseModel


def odds_of(base: BaseModel) -> list[float]:
    """The log-odds of each test sample's label."""
    odds = []
    for logits, label in zip(base.test_logits.tolist(), base.test_labels.tolist(), strict=True):
        others = sum(math.exp(z - logits[label]) for k, z in enumerate(logits) if k != label)
        odds.append(-math.log(others))
    return odds


@pytest.mark.parametrize("count", [1, 7, 60])
def test_those_near_a_boundary_are_drawn_more_often(base64: BaseModel, count: int) -> None:
    odds, labels = odds_of(base64), base64.test_labels.tolist()
    chances = [1 / (one - min(odds) + NEAR) for one in odds]
    order = sorted(range(len(odds)), key=lambda k: (labels[k], odds[k]))
    expected = []
    for step in range(count):
        left = (step + 0.5) / count * sum(chances)
        for k in order:
            left -= chances[k]
            if left < 0:
                expected.append(k)
                break
    rows, weights = drawn(base64, count)
    assert rows.tolist() == expected
    even = sum(chances) / len(chances)
    assert weights.tolist() == pytest.approx([even / chances[k] for k in expected], rel=1e-9)


def test_weights_make_up_for_the_chances(base64: BaseModel) -> None:
    few, every = held_out(base64, 100, near=True), held_out(base64)
    assert few.weights.mean().item() == pytest.approx(1, abs=0.05)
    mean = every.prob.mean().item()
    assert (few.weights * few.prob).mean().item() == pytest.approx(mean, abs=0.05)
    assert few.prob.mean().item() < mean
    parts = [held_out(base64, 100, part, 3, near=True) for part in range(3)]
    assert sorted(p for part in parts for p in part.prob.tolist()) == sorted(few.prob.tolist())


def test_all_are_looked_at_where_there_are_no_more(base64: BaseModel) -> None:
    size = len(base64.test_labels)
    assert size < TEST_SAMPLES
    every = held_out(base64, size, near=True)
    assert every.labels.tolist() == base64.test_labels.tolist()
    assert every.weights.tolist() == [1] * size


def test_few_test_samples_tell_nearly_the_same(base: BaseModel) -> None:
    positions, chosen = base.some(24), algorithm("ga")
    whole, part = (forecast(base, chosen, positions, most) for most in (None, 200))
    for outcome in ("steps", "flips", "forget_prob_diff"):
        torch.testing.assert_close(getattr(part, outcome), getattr(whole, outcome), equal_nan=True)
    assert not torch.equal(part.prob_lost, whole.prob_lost)
    ranks = scipy.stats.spearmanr(part.prob_lost, whole.prob_lost, nan_policy="omit")
    assert ranks.statistic > 0.9
