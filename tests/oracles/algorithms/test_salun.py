"""SalUn by hand."""

from dataclasses import replace

import pytest
import torch

from tests.oracles.algorithms import salun
from tests.oracles.loops import Data, Result, Task
from tests.oracles.small_models import (
    linear,
    pixel_one,
    pixels,
    random_task,
    retain_two,
    sgd,
    sigmoid,
    two_weights,
    weights,
)


def run_salun(task: Task, optimizer: str, lr: float) -> Result:
    """Half of the weights, momentum 0.9 and weight decay 5e-4, three steps."""
    return salun.unlearn(
        replace(task, relabel_target=(task.label + 1) % 2),
        mask_fraction=0.5,
        optimizer=optimizer,
        lr=lr,
        momentum=0.9,
        weight_decay=5e-4,
        max_steps=3,
    )


def test_salun_by_hand() -> None:
    # Pixels (1, 3), class 0: |grad| = q (1, 3; 1, 3). k = 2 and the third largest is q, so the
    # second column is selected. logits (4, 0): CE(x_f, 1) has gradient sigmoid(4) (1, -1) x.
    # Retain pixels (0, 1) of class 1: logits (1, 0), gradient sigmoid(1) (1, -1) x.
    # lr 0.01: the second column moves by 0.01 (3 sigmoid(4) + sigmoid(1)).
    def retain(step: int, slot: int) -> Data:
        return pixels(0.0, 1.0).unsqueeze(0), torch.tensor([1])

    base = linear([[1.0, 1.0], [0.0, 0.0]])
    task = Task(base, pixels(1.0, 3.0), 0, retain, relabel_target=1)
    result = salun.unlearn(task, mask_fraction=0.5, **sgd(0.01, 1))
    move = 0.01 * (3 * sigmoid(4) + sigmoid(1))
    assert result.details == {"mask_density": 0.5}
    assert weights(result.model) == pytest.approx([1.0, 1.0 - move, 0.0, move])


def test_salun_ties_select_nothing() -> None:
    # Both magnitudes are q: none is strictly greater than the second largest.
    result = run_salun(pixel_one(retain=retain_two), "sgd", 0.1)
    assert result.details["mask_density"] == 0.0
    assert weights(result.model) == [1.0, 0.0]
    assert result.status == "max_steps"


def test_salun_zeros_are_never_selected() -> None:
    # Pixels (0, 0, 1): 2 of 6 gradients are not zero; k = 3, the fourth largest is 0, 2 selected.
    masks = salun.saliency_masks(linear([[0.0] * 3] * 2), pixels(0.0, 0.0, 1.0), 0, 0.5)
    assert salun.mask_density(masks) == pytest.approx(2 / 6)


def test_mask_fraction_one_selects_everything() -> None:
    masks = salun.saliency_masks(two_weights(), pixels(0.0), 0, 1.0)
    assert salun.mask_density(masks) == 1.0


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_salun_masked_out_weights_are_bit_identical(optimizer: str) -> None:
    task = random_task()
    masks = salun.saliency_masks(task.base, task.image, task.label, 0.5)
    result = run_salun(task, optimizer, 1e-4)
    assert result.steps > 0
    assert 0.1 < result.details["mask_density"] <= 0.5
    before = dict(task.base.named_parameters())
    for name, parameter in result.model.named_parameters():
        assert torch.equal(parameter[~masks[name]], before[name][~masks[name]]), name
        assert bool((parameter[masks[name]] != before[name][masks[name]]).any()), name
