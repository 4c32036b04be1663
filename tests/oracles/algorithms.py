"""Plain one-sample unlearning: `copy.deepcopy`, a fresh `torch.optim` optimiser and loops.

Each algorithm starts from a real copy of the base module and takes unlearning steps. One step
touches the forget sample once. After each step:

- a non-finite parameter or forget logit: status `non_finite`, the step is thrown away;
- argmax of the forget logits differs from the base model's argmax: status `flipped`, stop;
- after `max_steps` steps: status `max_steps`.

If the base model's argmax is not the label, nothing is run: status `already_wrong`.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Retain = Callable[[int, int], tuple[Tensor, Tensor]]
"""(step counted from 1, slot counted from 0) -> (images (B, C, H, W), labels (B,))."""


@dataclass
class Result:
    """An unlearned model and what happened on the way."""

    model: nn.Module
    steps: int
    status: str
    forget_probs: list[float]
    forget_losses: list[float]
    details: dict[str, float] = field(default_factory=dict)


def make_optimizer(
    model: nn.Module, name: str, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """A fresh optimiser over all parameters; Adam (torch's default betas) has no momentum knob."""
    if name == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay
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


def teacher_kl(teacher: nn.Module, student: nn.Module, images: Tensor, t: float) -> Tensor:
    """t^2 times the mean over the batch of sum_c p_c (log p_c - log q_c).

    p = softmax(teacher / t), q = softmax(student / t).
    """
    with torch.no_grad():
        log_p = torch.log_softmax(teacher(images) / t, dim=1)
    log_q = torch.log_softmax(student(images) / t, dim=1)
    per_image = (log_p.exp() * (log_p - log_q)).sum(dim=1)
    return per_image.mean() * t**2


def forget_logits(model: nn.Module, image: Tensor) -> Tensor:
    """Logits (K,) of one image, without a graph."""
    with torch.no_grad():
        logits: Tensor = model(image.unsqueeze(0))[0]
    return logits


def record(model: nn.Module, image: Tensor, label: int, result: Result) -> None:
    """Append p(true label | x_f) and the cross-entropy of x_f under `model` to the result."""
    log_probs = torch.log_softmax(forget_logits(model, image).double(), dim=0)
    result.forget_probs.append(float(log_probs[label].exp()))
    result.forget_losses.append(float(-log_probs[label]))


def is_finite(model: nn.Module, image: Tensor) -> bool:
    """Whether every parameter and every forget logit is finite."""
    for parameter in model.parameters():
        if not bool(torch.isfinite(parameter).all()):
            return False
    return bool(torch.isfinite(forget_logits(model, image)).all())


def start(base: nn.Module, image: Tensor, label: int) -> Result:
    """The result before the first step: a copy of the base, its probability and its loss."""
    result = Result(working_copy(base), 0, "", [], [])
    record(base, image, label, result)
    if int(forget_logits(base, image).argmax()) != label:
        result.status = "already_wrong"
    return result


def run(
    base: nn.Module,
    image: Tensor,
    label: int,
    result: Result,
    one_step: Callable[[int], None],
    max_steps: int,
) -> Result:
    """Call `one_step`, which changes `result.model`, until one of the three ends is reached."""
    base_class = int(forget_logits(base, image).argmax())
    model = result.model
    for step in range(1, max_steps + 1):
        last_finite = copy.deepcopy(model)
        one_step(step)
        if not is_finite(model, image):
            result.model = last_finite
            result.status = "non_finite"
            return result
        result.steps = step
        record(model, image, label, result)
        if int(forget_logits(model, image).argmax()) != base_class:
            result.status = "flipped"
            return result
    result.status = "max_steps"
    return result


def ga(
    base: nn.Module,
    image: Tensor,
    label: int,
    *,
    optimizer: str,
    lr: float,
    momentum: float,
    weight_decay: float,
    max_steps: int,
) -> Result:
    """Gradient ascent: one step is one optimiser step on -CE(x_f, y_f)."""
    result = start(base, image, label)
    if result.status == "already_wrong":
        return result
    model = result.model
    optim = make_optimizer(model, optimizer, lr, momentum, weight_decay)

    def one_step(step: int) -> None:
        optim.zero_grad()
        loss = -forget_cross_entropy(model, image, label)
        torch.autograd.backward(loss)
        optim.step()

    return run(base, image, label, result, one_step, max_steps)


def neggrad(
    base: nn.Module,
    image: Tensor,
    label: int,
    retain: Retain,
    *,
    alpha: float,
    optimizer: str,
    lr: float,
    momentum: float,
    weight_decay: float,
    max_steps: int,
) -> Result:
    """NegGrad: one optimiser step on alpha CE(retain batch) - (1 - alpha) CE(x_f, y_f)."""
    result = start(base, image, label)
    if result.status == "already_wrong":
        return result
    model = result.model
    optim = make_optimizer(model, optimizer, lr, momentum, weight_decay)

    def one_step(step: int) -> None:
        images, labels = retain(step, 0)
        optim.zero_grad()
        retain_loss = cross_entropy(model(images), labels)
        forget_loss = forget_cross_entropy(model, image, label)
        loss = alpha * retain_loss - (1 - alpha) * forget_loss
        torch.autograd.backward(loss)
        optim.step()

    return run(base, image, label, result, one_step, max_steps)


def scrub(
    base: nn.Module,
    image: Tensor,
    label: int,
    retain: Retain,
    *,
    gamma: float,
    alpha: float,
    temperature: float,
    retain_batches: int,
    max_steps_forget: int,
    optimizer: str,
    lr: float,
    momentum: float,
    weight_decay: float,
    max_steps: int,
) -> Result:
    """SCRUB, min updates first; all updates share one optimiser and the teacher is the base.

    One step: for each slot an optimiser step on gamma CE(retain) + alpha KL(teacher || student);
    then, while step <= max_steps_forget, an optimiser step on -KL(teacher || student) on x_f.
    """
    result = start(base, image, label)
    if result.status == "already_wrong":
        return result
    model = result.model
    teacher = copy.deepcopy(base)
    optim = make_optimizer(model, optimizer, lr, momentum, weight_decay)

    def one_step(step: int) -> None:
        for slot in range(retain_batches):
            images, labels = retain(step, slot)
            optim.zero_grad()
            retain_loss = cross_entropy(model(images), labels)
            distillation = teacher_kl(teacher, model, images, temperature)
            loss = gamma * retain_loss + alpha * distillation
            torch.autograd.backward(loss)
            optim.step()
        if step <= max_steps_forget:
            optim.zero_grad()
            loss = -teacher_kl(teacher, model, image.unsqueeze(0), temperature)
            torch.autograd.backward(loss)
            optim.step()

    return run(base, image, label, result, one_step, max_steps)


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


def salun(
    base: nn.Module,
    image: Tensor,
    label: int,
    retain: Retain,
    *,
    relabel_target: int,
    mask_fraction: float = 0.5,
    combine: str = "sum",
    optimizer: str,
    lr: float,
    momentum: float,
    weight_decay: float,
    max_steps: int,
) -> Result:
    """SalUn: one optimiser step on CE(x_f, y') + CE(retain batch), on the salient weights only.

    With combine "joint" the loss is the mean CE over one batch of the sample and the retain batch.

    Gradients are zeroed where the mask is off, and after each optimiser step those weights get
    their base values back, so that neither momentum nor weight decay can move them.
    """
    result = start(base, image, label)
    if result.status == "already_wrong":
        return result
    model = result.model
    masks = saliency_masks(base, image, label, mask_fraction)
    result.details["mask_density"] = mask_density(masks)
    base_values = {name: value.detach().clone() for name, value in base.named_parameters()}
    optim = make_optimizer(model, optimizer, lr, momentum, weight_decay)

    def one_step(step: int) -> None:
        images, labels = retain(step, 0)
        optim.zero_grad()
        forget_loss = forget_cross_entropy(model, image, relabel_target)
        if combine == "joint":
            every = torch.cat([image[None], images])
            loss = cross_entropy(model(every), torch.cat([torch.tensor([relabel_target]), labels]))
        else:
            loss = forget_loss + cross_entropy(model(images), labels)
        torch.autograd.backward(loss)
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                parameter.grad[~masks[name]] = 0.0
        optim.step()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter[~masks[name]] = base_values[name][~masks[name]]

    return run(base, image, label, result, one_step, max_steps)
