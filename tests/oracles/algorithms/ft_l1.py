"""L1-sparse fine-tuning on the remaining data."""

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from tests.oracles.loops import Result, Steps, Task, minimise, retain_cross_entropy

SETTINGS: list[dict[str, Any]] = [{"lr": 1e-3, "alpha": 1e-3, "max_steps": 5}]


def l1_norm(model: nn.Module) -> Tensor:
    """Sum of |theta| over all parameters."""
    return torch.stack([parameter.abs().sum() for parameter in model.parameters()]).sum()


def unlearn(task: Task, *, alpha: float, **steps: Unpack[Steps]) -> Result:
    """One optimiser step on CE(retain batch) + a_t ||theta||_1.

    a_t = alpha (1 - (t - 1) / max_steps) in step t, counted from 1.
    """

    def loss_at(model: nn.Module, step: int) -> Tensor:
        a = alpha * (1 - (step - 1) / steps["max_steps"])
        return retain_cross_entropy(model, task.retain, step) + a * l1_norm(model)

    return minimise(task, loss_at, steps)
