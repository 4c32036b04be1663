"""Random labels by hand, and against SalUn."""

import copy
from dataclasses import replace

import pytest
import torch

from tests.oracles.algorithms import random_label, salun
from tests.oracles.loops import Steps
from tests.oracles.small_models import pair, pixel_one, random_task, retain_two, sigmoid, weights


def test_random_label_by_hand() -> None:
    # CE(x_f, 1) on pixel 1 has gradient sigmoid(d) u, the retain batch 2 sigmoid(2 d) u.
    # lr 0.05, momentum 0.5, two steps: v <- 0.5 v + g, d <- d - 0.1 v.
    d, v = 1.0, 0.0
    for _ in range(2):
        v = 0.5 * v + sigmoid(d) + 2 * sigmoid(2 * d)
        d -= 0.1 * v
    result = random_label.unlearn(
        replace(pixel_one(retain=retain_two), relabel_target=1),
        optimizer="sgd",
        lr=0.05,
        momentum=0.5,
        weight_decay=0,
        max_steps=2,
    )
    assert (result.status, result.steps) == ("max_steps", 2)
    assert weights(result.model) == pytest.approx(pair(d))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_random_label_is_salun_with_every_weight(optimizer: str) -> None:
    task = random_task()
    task = replace(task, relabel_target=(task.label + 1) % 4)
    before = copy.deepcopy(task.base.state_dict())
    steps: Steps = {
        "optimizer": optimizer,
        "lr": 1e-3,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "max_steps": 3,
    }
    ours = random_label.unlearn(task, **steps)
    theirs = salun.unlearn(task, mask_fraction=1.0, **steps)
    assert ours.steps == theirs.steps > 0
    assert weights(ours.model) == weights(theirs.model)
    for name, value in task.base.state_dict().items():
        assert torch.equal(value, before[name]), name
