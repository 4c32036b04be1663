"""Matching: descent on the retain batch, and on the distance of the log-odds from a target."""

import math
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from tests.oracles.loops import Result, Steps, Task, minimise, retain_cross_entropy

SETTINGS: list[dict[str, Any]] = [
    {"lr": 1e-3, "weight": 2.0},
    {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9, "retain_batch": 16},
]


def distance(model: nn.Module, task: Task) -> Tensor:
    """Huber's loss of phi - target: d^2 / 2 where |d| <= 1, else |d| - 1 / 2.

    phi = logit_y - log of the sum of exp of the others. Without a target it is that of one guess
    among C classes, log(1 / C) - log(1 - 1 / C) = -log(C - 1).
    """
    logits = model(task.image.unsqueeze(0))[0].double()
    others = [logit for k, logit in enumerate(logits) if k != task.label]
    phi = logits[task.label] - torch.logsumexp(torch.stack(others), dim=0)
    target = -math.log(len(others)) if task.target is None else task.target
    d = (phi - target).abs()
    loss: Tensor = d**2 / 2 if d.item() <= 1 else d - 0.5
    return loss


def unlearn(task: Task, *, weight: float, **steps: Unpack[Steps]) -> Result:
    """One optimiser step on CE(retain batch) + weight * distance."""

    def loss_at(model: nn.Module, step: int) -> Tensor:
        return retain_cross_entropy(model, task.retain, step) + weight * distance(model, task)

    return minimise(task, loss_at, steps)
