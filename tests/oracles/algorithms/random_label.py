"""Random labels: the sample is learned under a wrong label."""

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from tests.oracles.loops import (
    Result,
    Steps,
    Task,
    cross_entropy,
    forget_cross_entropy,
    minimise,
    retain_cross_entropy,
)

SETTINGS: list[dict[str, Any]] = [
    {"optimizer": "sgd", "lr": 1e-3},
    {"lr": 1e-3, "combine": "joint", "retain_batch": 16},
]


def relabel_loss(model: nn.Module, task: Task, step: int, combine: str) -> Tensor:
    """CE(x_f, y') + CE(retain batch), where y' is the task's `relabel_target`.

    With combine "joint" the mean CE over one batch of the sample and the retain batch.
    """
    if combine == "joint":
        images, labels = task.retain(step, 0)
        every = torch.cat([task.image[None], images])
        return cross_entropy(model(every), torch.tensor([task.relabel_target, *labels.tolist()]))
    forget_loss = forget_cross_entropy(model, task.image, task.relabel_target)
    return forget_loss + retain_cross_entropy(model, task.retain, step)


def unlearn(task: Task, *, combine: str = "sum", **steps: Unpack[Steps]) -> Result:
    """One optimiser step on `relabel_loss`."""

    def loss_at(model: nn.Module, step: int) -> Tensor:
        return relabel_loss(model, task, step, combine)

    return minimise(task, loss_at, steps)
