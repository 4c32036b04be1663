"""Several samples unlearned at once, by plain loops over them.

A step descends on the mean of the samples' own losses, on one model; it ends when all predictions
have flipped, where the samples have targets when all log-odds of the labels are at most a quarter
above them, or after `max_steps`. No step is shortened.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.oracles.algorithms.boundary_shrink import nearest_class
from tests.oracles.algorithms.ft_l1 import l1_norm
from tests.oracles.algorithms.influence import direction, doublings, moving
from tests.oracles.algorithms.matching import distance
from tests.oracles.algorithms.random_label import relabel_loss
from tests.oracles.algorithms.scrub import teacher_kl
from tests.oracles.forgetting import log_odds
from tests.oracles.loops import (
    Task,
    cross_entropy,
    forget_cross_entropy,
    forget_logits,
    make_optimizer,
    retain_cross_entropy,
    sample_gradient,
    some_of,
    working_copy,
)

Loss = Callable[[nn.Module, Task, int], Tensor]  # of one sample, in a step counted from 1


def all_arrived(model: nn.Module, tasks: Sequence[Task]) -> bool:
    """Whether no sample has its label for its prediction, or each is at or near its target."""
    for task in tasks:
        logits = forget_logits(model, task.image)
        if task.target is None:
            if int(logits.argmax()) == task.label:
                return False
        elif log_odds(logits.double().tolist(), task.label) > task.target + 0.25:
            return False
    return True


def mean_of(loss: Loss, model: nn.Module, tasks: Sequence[Task], step: int) -> Tensor:
    """The mean of the samples' losses."""
    total = torch.zeros((), dtype=torch.float64)
    for task in tasks:
        total = total + loss(model, task, step)
    return total / len(tasks)


def descend(
    tasks: Sequence[Task],
    updates: Callable[[int], Sequence[Loss]],
    settings: dict[str, Any],
    masks: dict[str, Tensor] | None = None,
) -> tuple[nn.Module, int]:
    """The model and the steps: in each an optimiser step for each of its losses.

    Weights that are off in a mask get their values from before back.
    """
    model = working_copy(tasks[0].base)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, settings)  # type: ignore[arg-type]
    for step in range(1, settings["max_steps"] + 1):
        for loss in updates(step):
            optimizer.zero_grad()
            torch.autograd.backward(mean_of(loss, model, tasks, step))
            optimizer.step()
            with torch.no_grad():
                for name, p in model.named_parameters():
                    if masks is not None:
                        p[~masks[name]] = before[name][~masks[name]]
        if all_arrived(model, tasks):
            return model, step
    return model, settings["max_steps"]


def mean_gradient(tasks: Sequence[Task]) -> dict[str, Tensor]:
    """That of the mean cross-entropy of the samples, by parameter."""
    model = working_copy(tasks[0].base)
    own = [sample_gradient(model, task.image, task.label) for task in tasks]
    return {name: torch.stack([g[name] for g in own]).mean(dim=0) for name in own[0]}


def largest(gradient: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Which entries are among that share of all with the largest magnitude."""
    every = sorted((abs(v) for g in gradient.values() for v in g.flatten().tolist()), reverse=True)
    count = int(share * len(every))
    last = every[count] if count < len(every) else -1.0
    return {name: g.abs() > last for name, g in gradient.items()}


def unlearn(name: str, tasks: Sequence[Task], settings: dict[str, Any]) -> tuple[nn.Module, int]:
    """The model that one of the algorithms comes to, and the steps that it takes."""
    if name == "scrub":
        return _scrub(tasks, settings)
    if name == "influence":
        return _influence(tasks, **settings)
    if name == "ssd":
        return _ssd(tasks, **settings)
    masks = None
    if name == "salun":
        masks = largest(mean_gradient(tasks), settings.get("mask_fraction", 0.5))
    return descend(tasks, lambda step: [_loss(name, settings)], settings, masks)


def _loss(name: str, settings: dict[str, Any]) -> Loss:
    alpha = float(settings.get("alpha", 0.0))

    def loss(model: nn.Module, task: Task, step: int) -> Tensor:
        if name == "ga":
            return -forget_cross_entropy(model, task.image, task.label)
        if name == "boundary_shrink":
            target = nearest_class(task.base, task.image, task.label, settings["epsilon"])
            return forget_cross_entropy(model, task.image, target)
        if name in ("random_label", "salun"):
            return relabel_loss(model, task, step, settings.get("combine", "sum"))
        retain = retain_cross_entropy(model, task.retain, step)
        if name == "ft":
            return retain
        if name == "ft_l1":
            left: float = 1 - (step - 1) / settings["max_steps"]
            return retain + alpha * left * l1_norm(model)
        if name == "matching":
            return retain + float(settings["weight"]) * distance(model, task)
        assert name == "neggrad", f"write the loss of {name} here"
        return alpha * retain - (1 - alpha) * forget_cross_entropy(model, task.image, task.label)

    return loss


def _scrub(tasks: Sequence[Task], settings: dict[str, Any]) -> tuple[nn.Module, int]:
    teacher, t = copy.deepcopy(tasks[0].base), settings["temperature"]

    def min_update(slot: int) -> Loss:
        def loss(model: nn.Module, task: Task, step: int) -> Tensor:
            images, labels = task.retain(step, slot)
            alpha, gamma = float(settings["alpha"]), float(settings["gamma"])
            taught = alpha * teacher_kl(teacher, model, images, t)
            return gamma * cross_entropy(model(images), labels) + taught

        return loss

    def max_update(model: nn.Module, task: Task, step: int) -> Tensor:
        return -teacher_kl(teacher, model, task.image.unsqueeze(0), t)

    def updates(step: int) -> list[Loss]:
        first = [min_update(slot) for slot in range(settings["retain_batches"])]
        return [*first, max_update] if step <= settings["max_steps_forget"] else first

    return descend(tasks, updates, settings)


def _influence(
    tasks: Sequence[Task],
    *,
    layers: str,
    damping: float,
    fisher_samples: int,
    alpha_start: float,
    alpha_max: float,
) -> tuple[nn.Module, int]:
    """Along the sum of the samples' directions; n is the number of remaining samples."""
    first = tasks[0]
    names, data = moving(first, layers), some_of(first.train, fisher_samples)
    whole = torch.stack([direction(task, data, names, damping) for task in tasks]).sum(dim=0)
    alphas = doublings(alpha_start, alpha_max)
    for alpha in alphas:
        model, at = working_copy(first.base), 0
        with torch.no_grad():
            for name, p in model.named_parameters():
                if name in names:
                    piece = whole[at : at + p.numel()].reshape(p.shape)
                    p.add_(piece, alpha=alpha / len(first.train[1]))
                    at += p.numel()
        if all_arrived(model, tasks):
            break
    return model, 1 + alphas.index(alpha)


def _ssd(
    tasks: Sequence[Task], *, importance_samples: int, alpha: float, dampening: float
) -> tuple[nn.Module, int]:
    """The importance of the set is the mean of its samples' squared gradients."""
    model = working_copy(tasks[0].base)
    images, labels = some_of(tasks[0].train, importance_samples)

    def importance(pairs: Sequence[tuple[Tensor, int]]) -> dict[str, Tensor]:
        own = [sample_gradient(model, image, label) for image, label in pairs]
        return {n: torch.stack([g[n] ** 2 for g in own]).mean(dim=0) for n in own[0]}

    of_data = importance([(x, int(y)) for x, y in zip(images, labels, strict=True)])
    of_set = importance([(task.image, task.label) for task in tasks])
    with torch.no_grad():
        for name, p in model.named_parameters():
            ratio = torch.clamp(dampening * of_data[name] / of_set[name], max=1.0)
            p.copy_(torch.where(of_set[name] > alpha * of_data[name], p * ratio, p))
    return model, 1
