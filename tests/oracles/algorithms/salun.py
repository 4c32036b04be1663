"""SalUn: random labels, on the salient weights only."""

import math
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from tests.oracles.algorithms.random_label import relabel_loss
from tests.oracles.loops import (
    Result,
    Steps,
    Task,
    forget_cross_entropy,
    make_optimizer,
    run,
    start,
    working_copy,
)

SETTINGS: list[dict[str, Any]] = [
    {"optimizer": "sgd", "lr": 1e-3},
    {"lr": 3e-4, "weight_decay": 5e-4, "mask_fraction": 0.3, "retain_batch": 16},
    {"optimizer": "sgd", "lr": 1e-2, "momentum": 0.9, "combine": "joint"},
]


def saliency_masks(
    base: nn.Module, image: Tensor, label: int, mask_fraction: float
) -> dict[str, Tensor]:
    """Which weights SalUn may change, as booleans per parameter name.

    k = floor(mask_fraction * P) of all P weights jointly; selected is where |grad CE(x_f, y_true)|
    at the base is strictly greater than the (k+1)-th largest magnitude. With many exact zeros or
    other ties that is fewer than k. If k = P there is no (k+1)-th: everything is selected.
    """
    model = working_copy(base)
    torch.autograd.backward(forget_cross_entropy(model, image, label))
    magnitudes: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            magnitudes[name] = torch.zeros_like(parameter)
        else:
            magnitudes[name] = parameter.grad.abs()
    flat: list[float] = []
    for magnitude in magnitudes.values():
        flat.extend(magnitude.flatten().tolist())
    flat.sort(reverse=True)
    k = math.floor(mask_fraction * len(flat))
    masks: dict[str, Tensor] = {}
    for name, magnitude in magnitudes.items():
        if k >= len(flat):
            masks[name] = torch.ones_like(magnitude, dtype=torch.bool)
        else:
            masks[name] = magnitude > flat[k]
    return masks


def mask_density(masks: dict[str, Tensor]) -> float:
    """Share of the weights that are selected."""
    selected = 0
    total = 0
    for mask in masks.values():
        selected += int(mask.sum())
        total += mask.numel()
    return selected / total


def unlearn(
    task: Task, *, mask_fraction: float = 0.5, combine: str = "sum", **steps: Unpack[Steps]
) -> Result:
    """One optimiser step on the loss of random labels, on the salient weights only.

    Gradients are zeroed where the mask is off, and after each optimiser step those weights get
    their base values back, so that neither momentum nor weight decay can move them.
    """
    result = start(task)
    if result.status:
        return result
    model = result.model
    masks = saliency_masks(task.base, task.image, task.label, mask_fraction)
    result.details["mask_density"] = mask_density(masks)
    base_values = {name: value.detach().clone() for name, value in task.base.named_parameters()}
    optimizer = make_optimizer(model, steps)

    def one_step(step: int) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(relabel_loss(model, task, step, combine))
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                parameter.grad[~masks[name]] = 0.0
        optimizer.step()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter[~masks[name]] = base_values[name][~masks[name]]

    return run(task, result, one_step, steps["max_steps"])
