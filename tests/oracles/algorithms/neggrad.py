"""NegGrad: descent on the retain batch, ascent on the forget sample."""

from typing import Any, Unpack

from torch import Tensor, nn

from tests.oracles.loops import (
    Result,
    Steps,
    Task,
    forget_cross_entropy,
    minimise,
    retain_cross_entropy,
)

SETTINGS: list[dict[str, Any]] = [
    {"lr": 1e-3, "alpha": 0.05},
    {"optimizer": "sgd", "lr": 0.1, "retain_batch": 16},
]


def unlearn(task: Task, *, alpha: float, **steps: Unpack[Steps]) -> Result:
    """One optimiser step on alpha CE(retain batch) - (1 - alpha) CE(x_f, y_f)."""

    def loss_at(model: nn.Module, step: int) -> Tensor:
        retain_loss = retain_cross_entropy(model, task.retain, step)
        forget_loss = forget_cross_entropy(model, task.image, task.label)
        return alpha * retain_loss - (1 - alpha) * forget_loss

    return minimise(task, loss_at, steps)
