"""Gradient ascent."""

from typing import Any, Unpack

from torch import Tensor, nn

from tests.oracles.loops import Result, Steps, Task, forget_cross_entropy, minimise

SETTINGS: list[dict[str, Any]] = [
    {"lr": 1e-3},
    {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
]


def unlearn(task: Task, **steps: Unpack[Steps]) -> Result:
    """One step is one optimiser step on -CE(x_f, y_f)."""

    def loss_at(model: nn.Module, step: int) -> Tensor:
        return -forget_cross_entropy(model, task.image, task.label)

    return minimise(task, loss_at, steps)
