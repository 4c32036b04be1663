"""Influence unlearning, with the Fisher matrix written out."""

from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor

from tests.oracles.loops import (
    Data,
    Result,
    Task,
    run,
    sample_gradient,
    some_of,
    start,
    working_copy,
)

SETTINGS: list[dict[str, Any]] = [
    {"fisher_samples": 40},
    {"damping": 0.1, "fisher_samples": 60},
]


class Settings(TypedDict):
    """The hyper-parameters, but for the number of samples of the Fisher matrix."""

    layers: str
    damping: float
    alpha_start: float
    alpha_max: float


def direction(task: Task, data: Data, names: list[str], damping: float) -> Tensor:
    """F^-1 (g_f - mean_i g_i) over the named parameters, flat, in float64.

    F = damping I + (1/m) sum_i g_i g_i^T over the m samples of the data is a dense matrix.
    """
    model = working_copy(task.base)

    def flat_gradient(image: Tensor, label: int) -> Tensor:
        gradients = sample_gradient(model, image, label)
        return torch.cat([gradients[name].flatten().double() for name in names])

    g_forget = flat_gradient(task.image, task.label)
    images, labels = data
    m = len(labels)
    fisher = damping * torch.eye(len(g_forget), dtype=torch.float64)
    mean = torch.zeros_like(g_forget)
    for i in range(m):
        g = flat_gradient(images[i], int(labels[i]))
        fisher = fisher + torch.outer(g, g) / m
        mean = mean + g / m
    solved: Tensor = torch.linalg.solve(fisher, g_forget - mean)
    return solved


def moving(task: Task, layers: str) -> list[str]:
    """The names of the parameters that count and move: the last layer's, or all."""
    names = [name for name, _ in task.base.named_parameters()]
    if layers == "all":
        return names
    if layers != "last":
        raise ValueError(f"unknown layers {layers!r}")
    if not task.head:
        raise ValueError("the last layer's prefix is missing")
    return [name for name in names if name.startswith(task.head)]


def doublings(first: float, last: float) -> list[float]:
    """first, 2 first, 4 first, ... while that is at most `last`."""
    values = []
    while first <= last:
        values.append(first)
        first = first * 2
    return values


def unlearn(task: Task, *, fisher_samples: int, **settings: Unpack[Settings]) -> Result:
    """Along the direction that some of the training data give."""
    data = some_of(task.train, fisher_samples)
    return along_direction(task, data, len(task.train[1]), **settings)


def along_direction(task: Task, data: Data, n: int, **settings: Unpack[Settings]) -> Result:
    """theta_t = theta + alpha_t / n * direction, always from the base.

    alpha_t = alpha_start 2^(t-1) while that is at most alpha_max. details["alpha"] belongs to the
    last kept step, and is 0 if there is none.
    """
    result = start(task)
    if result.status:
        return result
    names = moving(task, settings["layers"])
    whole = direction(task, data, names, settings["damping"])
    alphas = doublings(settings["alpha_start"], settings["alpha_max"])
    before = dict(task.base.named_parameters())
    after = dict(result.model.named_parameters())

    def one_step(step: int) -> None:
        position = 0
        with torch.no_grad():
            for name in names:
                size = before[name].numel()
                piece = whole[position : position + size].reshape(before[name].shape)
                after[name].copy_(before[name].double() + alphas[step - 1] / n * piece)
                position += size

    run(task, result, one_step, len(alphas))
    result.details["alpha"] = alphas[result.steps - 1] if result.steps > 0 else 0.0
    return result
