"""Probes of one sample: a plain loop over copies of the model, in float64."""

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Direction = list[Tensor]  # an entry a parameter


def gradient(model: nn.Module, image: Tensor, label: int) -> Direction:
    """The gradient of CE(image, label) in every parameter."""
    plain = copy.deepcopy(model).double().eval().requires_grad_(True)
    loss = F.cross_entropy(plain(image.double().unsqueeze(0)), torch.tensor([label]))
    return list(torch.autograd.grad(loss, list(plain.parameters())))


def moved(model: nn.Module, direction: Direction, step: float) -> nn.Module:
    """A copy of the model at theta + step * direction."""
    copied = copy.deepcopy(model).double().eval().requires_grad_(False)
    for parameter, part in zip(copied.parameters(), direction, strict=True):
        parameter.add_(part, alpha=step)
    return copied


def log_prob(model: nn.Module, image: Tensor, label: int) -> float:
    """Log-probability of the label."""
    with torch.no_grad():
        return -float(F.cross_entropy(model(image.double().unsqueeze(0)), torch.tensor([label])))


def flip_step(model: nn.Module, direction: Direction, image: Tensor, label: int) -> float:
    """Doubled from a tiny step until the prediction is not the label, then bisected; NaN if never.

    NaN too where it is not the label at theta.
    """

    def flipped(step: float) -> bool:
        with torch.no_grad():
            logits = moved(model, direction, step)(image.double().unsqueeze(0))
        return int(logits.argmax()) != label

    if flipped(0.0):
        return math.nan
    high = 2.0**-30
    while not flipped(high):
        high *= 2
        if high > 2.0**30:
            return math.nan
    low = high / 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if flipped(middle) else (middle, high)
    return high


def adam_direction(model: nn.Module, image: Tensor, label: int) -> Direction:
    """The sign of the gradient."""
    return [part.sign() for part in gradient(model, image, label)]


def sgd_direction(model: nn.Module, image: Tensor, label: int) -> Direction:
    """The gradient at length one."""
    parts = gradient(model, image, label)
    length = math.sqrt(sum(float((part**2).sum()) for part in parts))
    return [part / length for part in parts]


def flip_probe_step_adam(model: nn.Module, image: Tensor, label: int) -> float:
    """s along the sign of the gradient."""
    return flip_step(model, adam_direction(model, image, label), image, label)


def flip_probe_step_sgd(model: nn.Module, image: Tensor, label: int) -> float:
    """s along the gradient."""
    return flip_step(model, sgd_direction(model, image, label), image, label)


def true_label_prob(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The mean probability of the labels."""
    probs = [
        math.exp(log_prob(model, image, int(label)))
        for image, label in zip(images, labels, strict=True)
    ]
    return sum(probs) / len(probs)


def _damage(
    model: nn.Module, direction: Direction, step: float, images: Tensor, labels: Tensor
) -> float:
    before = true_label_prob(moved(model, direction, 0.0), images, labels)
    return before - true_label_prob(moved(model, direction, step), images, labels)


def flip_probe_damage_adam(
    model: nn.Module, image: Tensor, label: int, step: float, tests: tuple[Tensor, Tensor]
) -> float:
    """What `tests`, images and labels, lose after a step along the sign of the gradient."""
    return _damage(model, adam_direction(model, image, label), step, *tests)


def flip_probe_damage_sgd(
    model: nn.Module, image: Tensor, label: int, step: float, tests: tuple[Tensor, Tensor]
) -> float:
    """What `tests`, images and labels, lose after a step along the gradient."""
    return _damage(model, sgd_direction(model, image, label), step, *tests)


def ga_step_loss(model: nn.Module, image: Tensor, label: int, lr: float) -> float:
    """The rise of the cross-entropy by one step of torch's Adam on its negative."""
    stepped = copy.deepcopy(model).double().eval().requires_grad_(True)
    before = log_prob(stepped, image, label)
    optimizer = torch.optim.Adam(stepped.parameters(), lr=lr)
    loss = F.cross_entropy(stepped(image.double().unsqueeze(0)), torch.tensor([label]))
    optimizer.zero_grad()
    (-loss).backward()
    optimizer.step()
    return before - log_prob(stepped, image, label)


def own_curvature(model: nn.Module, image: Tensor, label: int) -> float:
    """g'Hg / g'g, with g'Hg as the derivative of g'g' along g, by two backward passes."""
    plain = copy.deepcopy(model).double().eval().requires_grad_(True)
    parameters = list(plain.parameters())
    loss = F.cross_entropy(plain(image.double().unsqueeze(0)), torch.tensor([label]))
    first = torch.autograd.grad(loss, parameters, create_graph=True)
    fixed = [part.detach() for part in first]
    products = [(a * b).sum() for a, b in zip(first, fixed, strict=True)]
    inner = torch.stack(products).sum()
    second = torch.autograd.grad(inner, parameters)
    numerator = sum(float((a * b).sum()) for a, b in zip(second, fixed, strict=True))
    return numerator / sum(float((part**2).sum()) for part in fixed)


def noise_sensitivity(
    model: nn.Module, image: Tensor, label: int, share: float, noise: Callable[[int], Direction]
) -> float:
    """The mean fall of the log-probability over eight draws of noise.

    Args:
        share: of each parameter's standard deviation. noise: standard normal numbers of a draw.
    """
    spread = [float(p.detach().double().std(correction=0)) for p in model.parameters()]
    falls = []
    for draw in range(8):
        scaled = [s * part for s, part in zip(spread, noise(draw), strict=True)]
        before = log_prob(moved(model, scaled, 0.0), image, label)
        falls.append(before - log_prob(moved(model, scaled, share), image, label))
    return sum(falls) / len(falls)
