"""SCRUB-R by hand."""

import math

import pytest
import torch

from tests.oracles.algorithms.scrub_r import held_out_prob, rewound
from tests.oracles.loops import Data, Result, Retain
from tests.oracles.small_models import (
    pair,
    pixel_one,
    pixels,
    retain_nan,
    retain_two,
    scrub_move,
    sgd,
    sigmoid,
    two_weights,
    weights,
)


def test_held_out_prob_by_hand() -> None:
    # p(0) = sigmoid(x) of pixels 1 and 3, p(1) = 1 - sigmoid(2) of pixel 2.
    test = torch.stack([pixels(1.0), pixels(2.0), pixels(3.0)]), torch.tensor([0, 1, 0])
    expected = (sigmoid(1) + sigmoid(3)) / 2
    base = two_weights()
    assert held_out_prob(base, test, 0) == pytest.approx(expected)
    assert held_out_prob(base, test, 1) == pytest.approx(1 - sigmoid(2))
    with pytest.raises(ValueError, match="class 2"):
        held_out_prob(base, test, 2)


def run_scrub_r(retain: Retain, held_out: float, lr: float, max_steps: int) -> Result:
    """SCRUB-R on the two-weight model, gamma 0.9, alpha 0.3, T 2, max updates in step 1 only."""
    return rewound(
        pixel_one(retain=retain),
        held_out,
        gamma=0.9,
        alpha=0.3,
        temperature=2.0,
        retain_batches=1,
        max_steps_forget=1,
        **sgd(lr, max_steps),
    )


def scrub_differences(lr: float, steps: int) -> list[float]:
    """d of the two-weight model before the first and after each of these SCRUB steps."""
    d = 1.0
    found = [d]
    for step in range(1, steps + 1):
        d -= 2 * lr * (0.9 * 2 * sigmoid(2 * d) + 0.3 * scrub_move(d, 2.0))
        if step == 1:
            d += 2 * lr * scrub_move(d, 1.0)
        found.append(d)
    return found


@pytest.mark.parametrize(("offset", "step"), [(-0.5, 4), (0.0, 2), (0.001, 2), (0.5, 1)])
def test_scrub_r_keeps_the_nearest_step(offset: float, step: int) -> None:
    # d falls in every step; the aim is p of step 2 plus an offset, or beyond one of the ends.
    ds = scrub_differences(0.02, 4)
    assert ds == sorted(ds, reverse=True)
    result = run_scrub_r(retain_two, sigmoid(ds[2]) + offset, 0.02, 4)
    assert result.details == {"rewind_step": step}
    assert (result.status, result.steps) == ("max_steps", 4)
    assert weights(result.model) == pytest.approx(pair(ds[step]))
    assert result.forget_probs == pytest.approx([sigmoid(d) for d in ds])
    assert result.forget_losses == pytest.approx([-math.log(sigmoid(d)) for d in ds])


def test_scrub_r_is_flipped_rewound_or_out_of_steps() -> None:
    # lr 0.1: SCRUB itself flips; with an aim of 0 the flipped model is kept, with 0.99 step 1.
    steps = run_scrub_r(retain_two, 0.4, 0.1, 20).steps
    ds = scrub_differences(0.1, steps)
    assert ds[-2] > 0 > ds[-1]
    assert steps > 1
    flipped = run_scrub_r(retain_two, 0.0, 0.1, 20)
    assert (flipped.status, flipped.steps) == ("flipped", steps)
    assert flipped.details == {"rewind_step": steps}
    assert weights(flipped.model) == pytest.approx(pair(ds[-1]))
    back = run_scrub_r(retain_two, 0.99, 0.1, 20)
    assert (back.status, back.steps) == ("rewound", steps)
    assert back.details == {"rewind_step": 1}
    assert weights(back.model) == pytest.approx(pair(ds[1]))
    # A step earlier there is no flip, whichever step is kept.
    for held_out, step in ((0.0, steps - 1), (0.99, 1)):
        spent = run_scrub_r(retain_two, held_out, 0.1, steps - 1)
        assert (spent.status, spent.steps) == ("max_steps", steps - 1)
        assert spent.details == {"rewind_step": step}


def test_scrub_r_takes_the_earliest_of_equal_steps() -> None:
    # At lr 0 all steps have the same probability.
    result = run_scrub_r(retain_two, 0.3, 0.0, 3)
    assert (result.status, result.steps, result.details) == ("max_steps", 3, {"rewind_step": 1})


def test_scrub_r_non_finite() -> None:
    def retain(step: int, slot: int) -> Data:
        return retain_two(step, slot) if step < 3 else retain_nan(step, slot)

    ds = scrub_differences(0.02, 2)
    late = run_scrub_r(retain, 0.99, 0.02, 9)
    assert (late.status, late.steps, late.details) == ("non_finite", 2, {"rewind_step": 1})
    assert weights(late.model) == pytest.approx(pair(ds[1]))
    assert len(late.forget_probs) == 3
    first = run_scrub_r(retain_nan, 0.99, 0.02, 9)
    assert (first.status, first.steps, first.details) == ("non_finite", 0, {"rewind_step": 0})
    assert weights(first.model) == [1.0, 0.0]
