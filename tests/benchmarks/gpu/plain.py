"""Unlearning and evaluation as people write them: a deep copy, an optimiser, batches of images.

No code of ours, and no trick but the channels-last layout of what it is given.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = 1000  # images that are evaluated at a time

Retain = Callable[[], tuple[Tensor, Tensor]]  # the next retain batch, images and labels
Settings = Mapping[str, Any]


def ga(
    network: nn.Module, image: Tensor, label: int, retain: Retain, settings: Settings
) -> tuple[nn.Module, int]:
    """Gradient ascent on an image (C, H, W) until its prediction flips: the model, its steps."""
    model, x, y = copy.deepcopy(network), image[None], torch.tensor([label], device=image.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"])

    def step() -> None:
        optimizer.zero_grad()
        (-F.cross_entropy(model(x), y)).backward()
        optimizer.step()

    return model, _until_flipped(model, x, label, step, settings["max_steps"])


def scrub(
    network: nn.Module, image: Tensor, label: int, retain: Retain, settings: Settings
) -> tuple[nn.Module, int]:
    """SCRUB on an image (C, H, W) until its prediction flips: the model, and its steps."""
    model, x, t = copy.deepcopy(network), image[None], settings["temperature"]
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"])

    def divergence(images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            teacher = F.log_softmax(network(images) / t, dim=1)
        logits = model(images)
        student = F.log_softmax(logits / t, dim=1)
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * t**2, logits

    def descend(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def step() -> None:
        images, labels = retain()
        apart, logits = divergence(images)
        descend(settings["gamma"] * F.cross_entropy(logits, labels) + settings["alpha"] * apart)
        descend(-divergence(x)[0])

    return model, _until_flipped(model, x, label, step, settings["max_steps"])


def _until_flipped(
    model: nn.Module, x: Tensor, label: int, step: Callable[[], None], most: int
) -> int:
    for taken in range(1, most + 1):
        step()
        with torch.no_grad():
            if int(model(x).argmax()) != label:
                return taken
    return most


def batches_of(images: Tensor, labels: Tensor, drawn: Tensor) -> Retain:
    """Retain batches, one after the other, at positions (steps, batch) that were drawn before."""
    each = iter(drawn)

    def following() -> tuple[Tensor, Tensor]:
        at = next(each)
        return images[at], labels[at]

    return following


@dataclass(frozen=True)
class Measured:
    """Of a model on some images: accuracy, and the mean probability of the true label."""

    accuracy: float
    prob: float


@torch.no_grad()
def in_batches(network: nn.Module, images: Tensor, size: int = BATCH) -> Tensor:
    """Logits: (N, C, H, W) to (N, classes)."""
    return torch.cat([network(batch) for batch in images.split(size)])


def measure(network: nn.Module, images: Tensor, labels: Tensor) -> Measured:
    """Evaluate a model."""
    logits = in_batches(network, images)
    prob = logits.softmax(1).gather(1, labels[:, None]).mean()
    return Measured((logits.argmax(1) == labels).float().mean().item(), prob.item())
