"""SCRUB by hand."""

import copy
import math

import pytest
import torch

from tests.oracles.algorithms import scrub
from tests.oracles.loops import Data, Result, Retain
from tests.oracles.small_models import (
    linear,
    pair,
    pixel_one,
    pixels,
    random_task,
    retain_two,
    scrub_move,
    sgd,
    sigmoid,
    two_weights,
    weights,
)


def run_scrub(retain: Retain, retain_batches: int, max_steps_forget: int, max_steps: int) -> Result:
    """SCRUB on the two-weight model, gamma 0.9, alpha 0.3, T 2, lr 0.02."""
    return scrub.unlearn(
        pixel_one(retain=retain),
        gamma=0.9,
        alpha=0.3,
        temperature=2.0,
        retain_batches=retain_batches,
        max_steps_forget=max_steps_forget,
        **sgd(0.02, max_steps),
    )


def test_scrub_by_hand() -> None:
    # Two min updates (the KL's gradient is 0 in the first), then one max update on x = 1.
    # Both weights move by opposite amounts, so d moves by twice that.
    d = 1.0
    for _ in range(2):
        d -= 2 * 0.02 * (0.9 * 2 * sigmoid(2 * d) + 0.3 * scrub_move(d, 2.0))
    after_min = d
    d += 2 * 0.02 * scrub_move(d, 1.0)
    result = run_scrub(retain_two, 2, 20, 1)
    assert weights(result.model) == pytest.approx(pair(d))
    without_max = run_scrub(retain_two, 2, 0, 1)
    assert weights(without_max.model) == pytest.approx(pair(after_min))


def test_scrub_asks_for_each_slot_of_each_step() -> None:
    asked = []

    def retain(step: int, slot: int) -> Data:
        asked.append((step, slot))
        return retain_two(step, slot)

    run_scrub(retain, 3, 1, 2)
    assert asked == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


def test_scrub_stops_the_max_updates() -> None:
    # max_steps_forget 1: only step 1 has a max update.
    d = 1.0
    for step in (1, 2):
        d -= 2 * 0.02 * (0.9 * 2 * sigmoid(2 * d) + 0.3 * scrub_move(d, 2.0))
        if step == 1:
            d += 2 * 0.02 * scrub_move(d, 1.0)
    result = run_scrub(retain_two, 1, 1, 2)
    assert weights(result.model) == pytest.approx(pair(d))


def test_teacher_kl_is_a_mean_over_images() -> None:
    # Student w = 0 is uniform; teacher p = sigmoid(x / 2): T^2 (log 2 - entropy of p), mean of two.
    images = torch.stack([pixels(1.0), pixels(3.0)])
    student = linear([[0.0], [0.0]])
    expected = 0.0
    for x in (1.0, 3.0):
        p = sigmoid(x / 2)
        entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
        expected += 4 * (math.log(2) - entropy) / 2
    value = scrub.teacher_kl(two_weights(), student, images, 2.0)
    assert float(value.detach()) == pytest.approx(expected)


def test_scrub_leaves_teacher_and_running_statistics() -> None:
    task = random_task()
    before = copy.deepcopy(task.base.state_dict())
    result = scrub.unlearn(
        task,
        gamma=0.99,
        alpha=0.5,
        temperature=4.0,
        retain_batches=2,
        max_steps_forget=20,
        optimizer="sgd",
        lr=1e-3,
        momentum=0.9,
        weight_decay=5e-4,
        max_steps=4,
    )
    for name, value in task.base.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in result.model.named_buffers():
        assert torch.equal(value, before[name]), name
    for name, parameter in result.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    assert all(parameter.grad is None for parameter in task.base.parameters())
