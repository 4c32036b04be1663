"""Fine-tuning on the remaining data."""

from typing import Any, Unpack

from torch import Tensor, nn

from tests.oracles.loops import Result, Steps, Task, minimise, retain_cross_entropy

SETTINGS: list[dict[str, Any]] = [{"lr": 1e-3, "max_steps": 5}]


def unlearn(task: Task, **steps: Unpack[Steps]) -> Result:
    """One optimiser step on CE(retain batch)."""

    def loss_at(model: nn.Module, step: int) -> Tensor:
        return retain_cross_entropy(model, task.retain, step)

    return minimise(task, loss_at, steps)
