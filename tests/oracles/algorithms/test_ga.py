"""Gradient ascent by hand, and what all loops have in common."""

import dataclasses
import math

import pytest

from tests.oracles.algorithms import ga
from tests.oracles.loops import Result, Task
from tests.oracles.small_models import (
    Q,
    linear,
    pair,
    pixel_one,
    pixels,
    sgd,
    sigmoid,
    two_weights,
    weights,
)


def ascent(task: Task, lr: float, max_steps: int) -> Result:
    return ga.unlearn(task, **sgd(lr, max_steps))


def test_ga_by_hand() -> None:
    # Each step takes lr q from w0 and gives it to w1: d <- d - 2 q(d).
    # d: 1 -> 1 - 2 * 0.26894 = 0.46212 -> 0.46212 - 2 * 0.38648 = -0.31086, flipped at step 2.
    base = two_weights()
    result = ascent(pixel_one(base), 1.0, 20)
    d1 = 1 - 2 * (1 - sigmoid(1))
    d2 = d1 - 2 * (1 - sigmoid(d1))
    assert d2 == pytest.approx(-0.31086, abs=1e-5)
    assert (result.status, result.steps) == ("flipped", 2)
    assert weights(result.model) == pytest.approx([(1 + d2) / 2, (1 - d2) / 2])
    assert result.forget_probs == pytest.approx([sigmoid(1), sigmoid(d1), sigmoid(d2)])
    assert result.forget_losses == pytest.approx([-math.log(p) for p in result.forget_probs])
    assert weights(base) == [1.0, 0.0]
    assert not base.training


def test_ga_with_momentum_and_decay_by_hand() -> None:
    # lr 0.1, momentum 0.5, decay 0.2. Ascent: g = (q, -q) + 0.2 w, v <- 0.5 v + g, w <- w - 0.1 v.
    result = ga.unlearn(
        pixel_one(), optimizer="sgd", lr=0.1, momentum=0.5, weight_decay=0.2, max_steps=2
    )
    w0, w1, v0, v1 = 1.0, 0.0, 0.0, 0.0
    for _ in range(2):
        q = 1 - sigmoid(w0 - w1)
        v0, v1 = 0.5 * v0 + q + 0.2 * w0, 0.5 * v1 - q + 0.2 * w1
        w0, w1 = w0 - 0.1 * v0, w1 - 0.1 * v1
    assert result.status == "max_steps"
    assert weights(result.model) == pytest.approx([w0, w1])


def test_ga_adam_first_step() -> None:
    # Adam's first step has length lr in every coordinate, whatever the gradient.
    result = ga.unlearn(
        pixel_one(), optimizer="adam", lr=0.01, momentum=0.9, weight_decay=0, max_steps=1
    )
    assert weights(result.model) == pytest.approx([0.99, 0.01], abs=1e-6)


def test_already_wrong_runs_nothing() -> None:
    result = ascent(pixel_one(linear([[0.0], [1.0]])), 1.0, 20)
    assert (result.status, result.steps) == ("already_wrong", 0)
    assert result.forget_probs == pytest.approx([sigmoid(-1)])
    assert weights(result.model) == [0.0, 1.0]


def test_max_steps() -> None:
    result = ascent(pixel_one(), 1e-4, 3)
    assert (result.status, result.steps, len(result.forget_probs)) == ("max_steps", 3, 4)


def test_non_finite_at_the_first_step_keeps_the_base() -> None:
    # The pixel is 1e200 and lr 1e200: the update is about 1e400, infinite in float64.
    result = ascent(Task(linear([[1e-200], [0.0]]), pixels(1e200), 0), 1e200, 20)
    assert (result.status, result.steps) == ("non_finite", 0)
    assert weights(result.model) == [1e-200, 0.0]
    assert len(result.forget_probs) == 1


def test_train_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="eval"):
        ascent(pixel_one(two_weights().train()), 1.0, 1)


def test_the_last_step_ends_on_the_target_by_hand() -> None:
    # A step of lr 1/2 takes d, the log-odds, from 1 to 1 - Q; the target is 3/8 of the way.
    task = dataclasses.replace(pixel_one(), target=1 - 0.375 * Q)
    result = ga.unlearn(task, **sgd(lr=0.5, max_steps=5))
    assert (result.status, result.steps) == ("at_reference", 1)
    assert weights(result.model) == pytest.approx(pair(1 - 0.375 * Q), abs=Q / 2**12)
    assert result.forget_probs == pytest.approx([sigmoid(1), sigmoid(1 - 0.375 * Q)], abs=1e-4)
    missed = ga.unlearn(dataclasses.replace(task, target=-9.0), **sgd(lr=0.5, max_steps=2))
    assert (missed.status, missed.steps) == ("max_steps", 2)
    there = ga.unlearn(dataclasses.replace(task, target=1.0), **sgd(lr=0.5, max_steps=2))
    assert (there.status, there.steps) == ("nothing_to_forget", 0)
    assert weights(there.model) == [1, 0]
