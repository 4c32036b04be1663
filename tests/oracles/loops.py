"""Plain one-sample unlearning: `copy.deepcopy`, a fresh `torch.optim` optimiser and loops.

Each algorithm starts from a real copy of the base module and takes unlearning steps. One step
touches the forget sample once. After each step:

- a non-finite parameter or forget logit: status `non_finite`, the step is thrown away;
- argmax of the forget logits differs from the base model's argmax: status `flipped`, stop;
- after `max_steps` steps: status `max_steps`.

If the base model's argmax is not the label, nothing is run: status `already_wrong`.

With a target nothing is asked of the argmax. If the log-odds of the label are at the target or
below under the base model, nothing is run: `nothing_to_forget`. The first step that brings them
there is the last one, `at_reference`, and is shortened: on the line between the weights before and
after it, bisected 12 times, the point nearest to those before that is known to be there.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from tests.oracles.forgetting import log_odds

Data = tuple[Tensor, Tensor]
"""Images (N, C, H, W) and labels (N,)."""

Retain = Callable[[int, int], Data]
"""(step counted from 1, slot counted from 0) -> the retain batch."""


def no_retain(step: int, slot: int) -> Data:
    """For algorithms that look at the forget sample only."""
    raise AssertionError("the task has no retain batches")


NO_DATA: Data = (torch.empty(0), torch.empty(0))


@dataclass(frozen=True)
class Task:
    """One sample to unlearn, and what an algorithm may use for it.

    Attributes:
        base: the trained module, in eval mode.
        image, label: the forget sample, (C, H, W) and its class.
        retain: the retain batch of each step and slot.
        train, test: the whole data, the forget sample included.
        head: what the names of the last layer's parameters begin with, such as "fc.".
        relabel_target: the wrong label that was drawn for the sample.
        target: log-odds of the label at which it ends; at the flip if None.
    """

    base: nn.Module
    image: Tensor
    label: int
    retain: Retain = no_retain
    train: Data = NO_DATA
    test: Data = NO_DATA
    head: str = ""
    relabel_target: int = -1
    target: float | None = None


class Steps(TypedDict):
    """How steps are taken, and how many at most."""

    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    max_steps: int


@dataclass
class Result:
    """An unlearned model and what happened on the way."""

    model: nn.Module
    steps: int
    status: str
    forget_probs: list[float]
    forget_losses: list[float]
    details: dict[str, float] = field(default_factory=dict)


def make_optimizer(model: nn.Module, steps: Steps) -> torch.optim.Optimizer:
    """A fresh optimiser over all parameters; Adam (torch's default betas) has no momentum knob."""
    name, lr, weight_decay = steps["optimizer"], steps["lr"], steps["weight_decay"]
    if name == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=lr, momentum=steps["momentum"], weight_decay=weight_decay
        )
    if name == "adam":
        return torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    raise ValueError(f"unknown optimizer {name!r}")


def working_copy(base: nn.Module) -> nn.Module:
    """A deep copy of the base in eval mode, every parameter trainable, no left-over gradients."""
    if any(module.training for module in base.modules()):
        raise ValueError("the base module has to be in eval mode")
    model = copy.deepcopy(base)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
    return model


def some_of(data: Data, count: int) -> Data:
    """At most so many samples, drawn with seed 0, in the order of the data."""
    images, labels = data
    drawn = np.random.default_rng(0).permutation(len(labels))[:count]
    at = torch.from_numpy(np.sort(drawn))
    return images[at], labels[at]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the batch of -log softmax(logits)[label]."""
    log_probs = torch.log_softmax(logits, dim=1)
    total = torch.zeros((), dtype=logits.dtype, device=logits.device)
    for row in range(len(labels)):
        total = total - log_probs[row, int(labels[row])]
    return total / len(labels)


def forget_cross_entropy(model: nn.Module, image: Tensor, label: int) -> Tensor:
    """-log softmax(f(x))[label] of one image (C, H, W)."""
    return cross_entropy(model(image.unsqueeze(0)), torch.tensor([label]))


def retain_cross_entropy(model: nn.Module, retain: Retain, step: int) -> Tensor:
    """Mean cross-entropy of the retain batch of this step (slot 0)."""
    images, labels = retain(step, 0)
    return cross_entropy(model(images), labels)


def forget_logits(model: nn.Module, image: Tensor) -> Tensor:
    """Logits (K,) of one image, without a graph."""
    with torch.no_grad():
        logits: Tensor = model(image.unsqueeze(0))[0]
    return logits


def sample_gradient(model: nn.Module, image: Tensor, label: int) -> dict[str, Tensor]:
    """Gradient of CE(x, y) of one sample for each parameter (0 where it is not used)."""
    for parameter in model.parameters():
        parameter.grad = None
    torch.autograd.backward(forget_cross_entropy(model, image, label))
    gradients = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            gradients[name] = torch.zeros_like(parameter)
        else:
            gradients[name] = parameter.grad.clone()
        parameter.grad = None
    return gradients


def record(task: Task, result: Result) -> None:
    """Append p(true label | x_f) and the cross-entropy of x_f under the result's model to it."""
    logits = forget_logits(result.model, task.image)
    log_probs = torch.log_softmax(logits.double(), dim=0)
    result.forget_probs.append(float(log_probs[task.label].exp()))
    result.forget_losses.append(float(-log_probs[task.label]))


def is_finite(model: nn.Module, image: Tensor) -> bool:
    """Whether every parameter and every forget logit is finite."""
    for parameter in model.parameters():
        if not bool(torch.isfinite(parameter).all()):
            return False
    return bool(torch.isfinite(forget_logits(model, image)).all())


def start(task: Task) -> Result:
    """The result before the first step: a copy of the base, its probability and its loss."""
    result = Result(working_copy(task.base), 0, "", [], [])
    record(task, result)
    if task.target is not None:
        if is_there(task, task.base):
            result.status = "nothing_to_forget"
    elif int(forget_logits(task.base, task.image).argmax()) != task.label:
        result.status = "already_wrong"
    return result


def is_there(task: Task, model: nn.Module) -> bool:
    """Whether the log-odds of the label are at the target or below."""
    assert task.target is not None
    logits = forget_logits(model, task.image).double().tolist()
    return log_odds(logits, task.label) <= task.target


def shortened(task: Task, before: nn.Module, after: nn.Module) -> nn.Module:
    """The model on the line from one to the other, bisected 12 times towards the target."""
    at = copy.deepcopy(after)
    low, high = 0.0, 1.0

    def move(share: float) -> None:
        with torch.no_grad():
            ends = zip(before.parameters(), after.parameters(), strict=True)
            for p, (a, b) in zip(at.parameters(), ends, strict=True):
                p.copy_(a + share * (b - a))

    for _ in range(12):
        middle = (low + high) / 2
        move(middle)
        low, high = (low, middle) if is_there(task, at) else (middle, high)
    move(high)
    return at


def run(task: Task, result: Result, one_step: Callable[[int], None], max_steps: int) -> Result:
    """Call `one_step`, which changes `result.model`, until one of the ends is reached."""
    base_class = int(forget_logits(task.base, task.image).argmax())
    model = result.model
    for step in range(1, max_steps + 1):
        last_finite = copy.deepcopy(model)
        one_step(step)
        if not is_finite(model, task.image):
            result.model = last_finite
            result.status = "non_finite"
            return result
        result.steps = step
        if task.target is not None:
            if is_there(task, model):
                result.model = shortened(task, last_finite, model)
                result.status = "at_reference"
            record(task, result)
            if result.status:
                return result
            continue
        record(task, result)
        if int(forget_logits(model, task.image).argmax()) != base_class:
            result.status = "flipped"
            return result
    result.status = "max_steps"
    return result


def minimise(task: Task, loss_at: Callable[[nn.Module, int], Tensor], steps: Steps) -> Result:
    """Step t (from 1) is one optimiser step on `loss_at(model, t)`; all weights move."""
    result = start(task)
    if result.status:
        return result
    model = result.model
    optimizer = make_optimizer(model, steps)

    def one_step(step: int) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(loss_at(model, step))
        optimizer.step()

    return run(task, result, one_step, steps["max_steps"])
