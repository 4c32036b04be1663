"""More one-sample unlearning in plain loops, with the protocol of `algorithms.run`.

Also retraining without one sample, and memorization over many models.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .algorithms import (
    Result,
    Retain,
    cross_entropy,
    forget_cross_entropy,
    forget_logits,
    make_optimizer,
    run,
    scrub,
    start,
    working_copy,
)


def minimise(
    base: nn.Module,
    image: Tensor,
    label: int,
    loss_at: Callable[[nn.Module, int], Tensor],
    optimizer: str,
    lr: float,
    momentum: float,
    weight_decay: float,
    max_steps: int,
) -> Result:
    """Step t (from 1) is one optimiser step on `loss_at(model, t)`; all weights move."""
    result = start(base, image, label)
    if result.status == "already_wrong":
        return result
    model = result.model
    optim = make_optimizer(model, optimizer, lr, momentum, weight_decay)

    def one_step(step: int) -> None:
        optim.zero_grad()
        torch.autograd.backward(loss_at(model, step))
        optim.step()

    return run(base, image, label, result, one_step, max_steps)


def retain_cross_entropy(model: nn.Module, retain: Retain, step: int) -> Tensor:
    """Mean cross-entropy of the retain batch of this step (slot 0)."""
    images, labels = retain(step, 0)
    return cross_entropy(model(images), labels)


def ft(
    base: nn.Module,
    image: Tensor,
    label: int,
    retain: Retain,
    *,
    optimizer: str,
    lr: float,
    momentum: float,
    weight_decay: float,
    max_steps: int,
) -> Result:
    """Fine-tuning: one optimiser step on CE(retain batch)."""

    def loss_at(model: nn.Module, step: int) -> Tensor:
        return retain_cross_entropy(model, retain, step)

    return minimise(base, image, label, loss_at, optimizer, lr, momentum, weight_decay, max_steps)


def l1_norm(model: nn.Module) -> Tensor:
    """Sum of |theta| over all parameters."""
    return torch.stack([parameter.abs().sum() for parameter in model.parameters()]).sum()


def ft_l1(
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
    """L1-sparse fine-tuning: one optimiser step on CE(retain batch) + a_t ||theta||_1.

    a_t = alpha (1 - (t - 1) / max_steps) in step t, counted from 1.
    """

    def loss_at(model: nn.Module, step: int) -> Tensor:
        a = alpha * (1 - (step - 1) / max_steps)
        return retain_cross_entropy(model, retain, step) + a * l1_norm(model)

    return minimise(base, image, label, loss_at, optimizer, lr, momentum, weight_decay, max_steps)


def random_label(
    base: nn.Module,
    image: Tensor,
    label: int,
    retain: Retain,
    *,
    relabel_target: int,
    combine: str = "sum",
    optimizer: str,
    lr: float,
    momentum: float,
    weight_decay: float,
    max_steps: int,
) -> Result:
    """Random labels: one optimiser step on CE(x_f, y') + CE(retain batch), or the joint mean."""

    def loss_at(model: nn.Module, step: int) -> Tensor:
        if combine == "joint":
            images, labels = retain(step, 0)
            every = torch.cat([image[None], images])
            return cross_entropy(model(every), torch.tensor([relabel_target, *labels.tolist()]))
        forget_loss = forget_cross_entropy(model, image, relabel_target)
        return forget_loss + retain_cross_entropy(model, retain, step)

    return minimise(base, image, label, loss_at, optimizer, lr, momentum, weight_decay, max_steps)


def nearest_class(base: nn.Module, image: Tensor, label: int, epsilon: float) -> int:
    """The base's class of clamp(x + epsilon sign(grad_x CE(x, label)), 0, 1).

    If that is still the label: the runner-up of the logits of x (the first of several equal ones).
    """
    pixels = image.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(forget_cross_entropy(base, pixels, label), pixels)
    moved = torch.clamp(image + epsilon * torch.sign(gradient), 0, 1)
    found = int(forget_logits(base, moved).argmax())
    if found != label:
        return found
    logits = forget_logits(base, image).tolist()
    others = [k for k in range(len(logits)) if k != label]
    return max(others, key=lambda k: logits[k])


def boundary_shrink(
    base: nn.Module,
    image: Tensor,
    label: int,
    *,
    epsilon: float,
    optimizer: str,
    lr: float,
    momentum: float,
    weight_decay: float,
    max_steps: int,
) -> Result:
    """Boundary shrink: one optimiser step on CE(x_f, y'), y' = `nearest_class` under the base."""
    target = nearest_class(base, image, label, epsilon)

    def loss_at(model: nn.Module, step: int) -> Tensor:
        return forget_cross_entropy(model, image, target)

    result = minimise(base, image, label, loss_at, optimizer, lr, momentum, weight_decay, max_steps)
    if result.status != "already_wrong":
        result.details["relabel_target"] = target
    return result


def held_out_prob(base: nn.Module, test_images: Tensor, test_labels: Tensor, label: int) -> float:
    """Mean of p(label | x) under the base over the test samples of class `label`."""
    probs = []
    for position in range(len(test_labels)):
        if int(test_labels[position]) == label:
            logits = forget_logits(base, test_images[position]).double()
            probs.append(float(torch.softmax(logits, dim=0)[label]))
    if not probs:
        raise ValueError(f"no test sample of class {label}")
    return sum(probs) / len(probs)


def scrub_r(
    base: nn.Module,
    image: Tensor,
    label: int,
    retain: Retain,
    held_out_prob: float,
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
    """SCRUB, rewound to the step whose forget probability is nearest to `held_out_prob`.

    SCRUB is run to its end, and then once more from the base to the chosen step, so `retain` has
    to give the same batch for the same step and slot. Where it flips, but the model of the chosen
    step has the base's class: status `rewound`.
    """

    def scrub_until(last_step: int) -> Result:
        return scrub(
            base,
            image,
            label,
            retain,
            gamma=gamma,
            alpha=alpha,
            temperature=temperature,
            retain_batches=retain_batches,
            max_steps_forget=max_steps_forget,
            optimizer=optimizer,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            max_steps=last_step,
        )

    result = scrub_until(max_steps)
    if result.status == "already_wrong":
        return result
    best = 0
    for step in range(1, result.steps + 1):
        distance = abs(result.forget_probs[step] - held_out_prob)
        if best == 0 or distance < abs(result.forget_probs[best] - held_out_prob):
            best = step
    result.details["rewind_step"] = best
    result.model = scrub_until(best).model
    if result.status == "flipped":
        base_class = int(forget_logits(base, image).argmax())
        kept_class = int(forget_logits(result.model, image).argmax())
        result.status = "flipped" if kept_class != base_class else "rewound"
    return result


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


def influence_direction(
    base: nn.Module,
    image: Tensor,
    label: int,
    influence_images: Tensor,
    influence_labels: Tensor,
    names: list[str],
    damping: float,
) -> Tensor:
    """F^-1 (g_f - mean_i g_i) over the named parameters, flat, in float64.

    F = damping I + (1/m) sum_i g_i g_i^T is a dense matrix.
    """
    model = working_copy(base)

    def flat_gradient(x: Tensor, y: int) -> Tensor:
        gradients = sample_gradient(model, x, y)
        return torch.cat([gradients[name].flatten().double() for name in names])

    g_forget = flat_gradient(image, label)
    m = len(influence_labels)
    fisher = damping * torch.eye(len(g_forget), dtype=torch.float64)
    mean = torch.zeros_like(g_forget)
    for i in range(m):
        g = flat_gradient(influence_images[i], int(influence_labels[i]))
        fisher = fisher + torch.outer(g, g) / m
        mean = mean + g / m
    direction: Tensor = torch.linalg.solve(fisher, g_forget - mean)
    return direction


def influence(
    base: nn.Module,
    image: Tensor,
    label: int,
    influence_images: Tensor,
    influence_labels: Tensor,
    n: int,
    *,
    layers: str,
    last: str = "",
    damping: float,
    alpha_start: float,
    alpha_max: float,
) -> Result:
    """Influence unlearning: theta_t = theta + alpha_t / n * direction, always from the base.

    alpha_t = alpha_start 2^(t-1) while that is at most alpha_max. With layers="last" only the
    parameters whose names begin with `last` (such as "fc.") count and move, with "all" all do.
    details["alpha"] belongs to the last kept step, and is 0 if there is none.
    """
    result = start(base, image, label)
    if result.status == "already_wrong":
        return result
    names = [name for name, _ in base.named_parameters()]
    if layers == "last":
        if not last:
            raise ValueError("the last layer's prefix is missing")
        names = [name for name in names if name.startswith(last)]
    elif layers != "all":
        raise ValueError(f"unknown layers {layers!r}")
    direction = influence_direction(
        base, image, label, influence_images, influence_labels, names, damping
    )
    alphas = []
    alpha = alpha_start
    while alpha <= alpha_max:
        alphas.append(alpha)
        alpha = alpha * 2
    before = dict(base.named_parameters())
    after = dict(result.model.named_parameters())

    def one_step(step: int) -> None:
        position = 0
        with torch.no_grad():
            for name in names:
                size = before[name].numel()
                piece = direction[position : position + size].reshape(before[name].shape)
                after[name].copy_(before[name].double() + alphas[step - 1] / n * piece)
                position += size

    run(base, image, label, result, one_step, len(alphas))
    result.details["alpha"] = alphas[result.steps - 1] if result.steps > 0 else 0.0
    return result


def ssd(
    base: nn.Module,
    image: Tensor,
    label: int,
    importance_images: Tensor,
    importance_labels: Tensor,
    *,
    alpha: float,
    dampening: float,
) -> Result:
    """Selective synaptic dampening, in one step.

    imp_D is the mean of the squared per-sample gradients, imp_f the squared gradient of x_f.
    Where imp_f > alpha imp_D: theta <- theta min(dampening imp_D / imp_f, 1).
    """
    result = start(base, image, label)
    if result.status == "already_wrong":
        return result
    probe = working_copy(base)
    forget = sample_gradient(probe, image, label)
    total = {name: torch.zeros_like(gradient) for name, gradient in forget.items()}
    m = len(importance_labels)
    for i in range(m):
        gradients = sample_gradient(probe, importance_images[i], int(importance_labels[i]))
        for name, gradient in gradients.items():
            total[name] = total[name] + gradient**2
    importance_d = {name: value / m for name, value in total.items()}
    importance_f = {name: gradient**2 for name, gradient in forget.items()}
    selected = {name: importance_f[name] > alpha * importance_d[name] for name in forget}

    def one_step(step: int) -> None:
        with torch.no_grad():
            for name, parameter in result.model.named_parameters():
                chosen = selected[name]
                ratio = dampening * importance_d[name][chosen] / importance_f[name][chosen]
                parameter[chosen] = parameter[chosen] * torch.clamp(ratio, max=1.0)

    result.details["selected_weights"] = sum(int(mask.sum()) for mask in selected.values())
    return run(base, image, label, result, one_step, 1)


def retrain(
    make_network: Callable[[], nn.Module],
    train_images: Tensor,
    train_labels: Tensor,
    left_out_position: int,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    optimizer: str,
    seed: int,
) -> nn.Module:
    """A network trained from scratch on all training samples but one, in eval mode.

    In the batches of a training on all of them, from which the one is struck. Adam, or SGD with
    Nesterov momentum 0.9; the rate follows a cosine over all batches, those without a sample too.
    """
    network = make_network()
    network.train()
    optim: torch.optim.Optimizer
    if optimizer == "adam":
        optim = torch.optim.Adam(network.parameters(), lr=lr)
    elif optimizer == "sgd":
        optim = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, nesterov=True)
    else:
        raise ValueError(f"unknown optimizer {optimizer!r}")
    samples = len(train_labels)
    steps = epochs * math.ceil(samples / batch_size)
    shuffle, step = torch.Generator().manual_seed(seed), 0
    for _ in range(epochs):
        order = torch.randperm(samples, generator=shuffle).tolist()
        for begin in range(0, samples, batch_size):
            batch = [i for i in order[begin : begin + batch_size] if i != left_out_position]
            for group in optim.param_groups:
                group["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
            step += 1
            if not batch:
                continue
            optim.zero_grad()
            logits = network(train_images[batch])
            torch.autograd.backward(nn.functional.cross_entropy(logits, train_labels[batch]))
            optim.step()
    return network.eval()


def memorization(correct: NDArray[np.bool_], included: NDArray[np.bool_]) -> list[float]:
    """Per sample: accuracy of the models that had it minus accuracy of those that had not.

    Both arrays are (models, samples); nan where a sample was in all models or in none.
    """
    models, samples = correct.shape
    values = []
    for sample in range(samples):
        inside = [float(correct[m, sample]) for m in range(models) if included[m, sample]]
        outside = [float(correct[m, sample]) for m in range(models) if not included[m, sample]]
        if inside and outside:
            values.append(sum(inside) / len(inside) - sum(outside) / len(outside))
        else:
            values.append(math.nan)
    return values
