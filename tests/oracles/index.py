"""The index of one sample, as plain loops over numbers and copies of the model."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.oracles.factors import probe
from tests.oracles.factors.probe import Direction


@dataclass
class Walked:
    """Where an attempt ends on its line, and after how many steps."""

    end: float
    steps: int


def log_odds(model: nn.Module, image: Tensor, label: int) -> float:
    """log p / (1 - p) of the label."""
    log_p = probe.log_prob(model, image, label)
    return log_p - math.log(-math.expm1(log_p))


def step_to(
    model: nn.Module, direction: Direction, image: Tensor, label: int, target: float
) -> float:
    """Doubled from a tiny step until the log-odds of the label are at the target, then bisected.

    0 where they are at theta; infinite if never.
    """

    def arrived(step: float) -> bool:
        return log_odds(probe.moved(model, direction, step), image, label) <= target

    if arrived(0.0):
        return 0.0
    high = 2.0**-30
    while not arrived(high):
        high *= 2
        if high > 2.0**30:
            return math.inf
    low = high / 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if arrived(middle) else (middle, high)
    return high


def adam_ascent(
    model: nn.Module,
    image: Tensor,
    label: int,
    lr: float,
    budget: int,
    target: float | None = None,
) -> Walked:
    """Gradient ascent by Adam along the sign of the gradient, on a parabola of the log-odds.

    It ends beyond the flip or, where there is a target, at the first step that brings the log-odds
    there, cut off where they are at the target.
    """
    gradient = probe.gradient(model, image, label)
    direction = [part.sign() for part in gradient]
    if target is None:
        flip = probe.flip_step(model, direction, image, label)
    else:
        flip = step_to(model, direction, image, label, target)
        if flip == 0:
            return Walked(0.0, 0)
    start = log_odds(probe.moved(model, direction, 0.0), image, label)
    there = log_odds(probe.moved(model, direction, flip), image, label)
    of_loss = sum(float(part.abs().sum()) for part in gradient)
    entries = sum(int((part != 0).sum()) for part in gradient)
    slope = -of_loss * (1 + math.exp(start))  # d CE / ds is -(1 - p) times that of the log-odds
    bend = (there - start - slope * flip) / flip**2
    s, first, second = 0.0, 0.0, 0.0
    for step in range(1, budget + 1):
        odds = start + slope * s + bend * s * s
        pull = min(slope + 2 * bend * s, 0.0) / (1 + math.exp(odds)) / entries
        first, second = 0.9 * first + 0.1 * pull, 0.999 * second + 0.001 * pull**2
        root = math.sqrt(second / (1 - 0.999**step))
        s -= lr * first / (1 - 0.9**step) / (root + 1e-8)
        if s >= flip:
            return Walked(s if target is None else flip, step)
    return Walked(s, step)


def scrub_growth(
    model: nn.Module, image: Tensor, direction: Direction, flip: float, lr: float, t: float
) -> float:
    """1 + lr * dKL / s, with the KL's slope taken along the chord of the logits up to the flip."""
    with torch.no_grad():
        before = probe.moved(model, direction, 0.0)(image.double().unsqueeze(0))[0]
        after = probe.moved(model, direction, flip)(image.double().unsqueeze(0))[0]
    # d/ds T^2 KL(p || softmax(z / T)) is T (softmax(z / T) - p) . dz/ds.
    logits = after.clone().requires_grad_(True)
    target = torch.softmax(before / t, dim=0)
    divergence = t**2 * F.kl_div(torch.log_softmax(logits / t, 0), target, reduction="sum")
    (uphill,) = torch.autograd.grad(divergence, logits)
    return 1 + lr * float(uphill @ (after - before)) / flip**2


def hot_direction(model: nn.Module, image: Tensor, label: int, t: float) -> Direction:
    """The gradient of CE(z / t) at length one."""
    plain = probe.moved(model, probe.gradient(model, image, label), 0.0).requires_grad_(True)
    logits = plain(image.double().unsqueeze(0)) / t
    loss = F.cross_entropy(logits, torch.tensor([label]))
    parts = torch.autograd.grad(loss, list(plain.parameters()))
    length = math.sqrt(sum(float((part**2).sum()) for part in parts))
    return [part / length for part in parts]


def prob_lost(
    model: nn.Module, direction: Direction, step: float, images: Tensor, labels: Tensor
) -> float:
    """The fall of the mean probability of the labels at theta + step * direction."""
    moved = probe.moved(model, direction, step)
    before = probe.true_label_prob(model, images, labels)
    return before - probe.true_label_prob(moved, images, labels)
