"""Boundary shrink: the sample is learned as a member of the nearest other class."""

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from tests.oracles.loops import (
    Result,
    Steps,
    Task,
    forget_cross_entropy,
    forget_logits,
    minimise,
)

SETTINGS: list[dict[str, Any]] = [{"optimizer": "sgd", "lr": 1e-3}, {"lr": 1e-3, "epsilon": 0.3}]


def nearest_class(base: nn.Module, image: Tensor, label: int, epsilon: float) -> int:
    """The base's class of clamp(x + epsilon sign(grad_x CE(x, label)), 0, 1).

    If that is still the label: the runner-up of the logits of x (the first of several equal ones).
    """
    pixels = image.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(forget_cross_entropy(base, pixels, label), pixels)
    moved = torch.clamp(image + epsilon * torch.sign(gradient), 0, 1)
    reached = int(forget_logits(base, moved).argmax())
    if reached != label:
        return reached
    logits = forget_logits(base, image).tolist()
    others = [k for k in range(len(logits)) if k != label]
    return max(others, key=lambda k: logits[k])


def unlearn(task: Task, *, epsilon: float, **steps: Unpack[Steps]) -> Result:
    """One optimiser step on CE(x_f, y'), y' = `nearest_class` under the base."""
    target = nearest_class(task.base, task.image, task.label, epsilon)

    def loss_at(model: nn.Module, step: int) -> Tensor:
        return forget_cross_entropy(model, task.image, target)

    result = minimise(task, loss_at, steps)
    if result.status != "already_wrong":
        result.details["relabel_target"] = target
    return result
