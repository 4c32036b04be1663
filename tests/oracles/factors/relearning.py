"""Steps of fine-tuning until one model knows its sample again, by a plain loop."""

from __future__ import annotations

import math

import torch

from tests.oracles.forgetting import log_odds
from tests.oracles.loops import (
    Steps,
    Task,
    forget_logits,
    make_optimizer,
    retain_cross_entropy,
    working_copy,
)


def relearn_steps(task: Task, base_phi: float, reference_phi: float, budget: int) -> float:
    """Steps on batches without the sample, until phi is halfway from reference to base or above.

    `task.base` is the model from which they start. Where they are not enough, the budget; nan where
    the base model's phi was not above the reference's.
    """
    if base_phi <= reference_phi:
        return math.nan
    return _relearned(task, (base_phi + reference_phi) / 2, budget)[0]


def relearned(task: Task, base_phi: float, reference_phi: float, budget: int) -> float:
    """1 if phi comes to be there, else 0; nan likewise."""
    if base_phi <= reference_phi:
        return math.nan
    return float(_relearned(task, (base_phi + reference_phi) / 2, budget)[1])


# Of a control, `task.base` is the model that never saw the sample.
control_relearn_steps, control_relearned = relearn_steps, relearned


def _relearned(task: Task, wanted: float, budget: int) -> tuple[float, bool]:
    model = working_copy(task.base)
    steps: Steps = {
        "optimizer": "adam",
        "lr": 1e-4,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "max_steps": budget,
    }
    optimizer, taken = make_optimizer(model, steps), 0
    while log_odds(forget_logits(model, task.image).tolist(), task.label) < wanted:
        if taken == budget:
            return budget, False
        taken += 1
        optimizer.zero_grad()
        torch.autograd.backward(retain_cross_entropy(model, task.retain, taken))
        optimizer.step()
    return taken, True
