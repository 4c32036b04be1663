"""Architectures by name. Each exposes its penultimate features and its last linear layer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from indelible.errors import UserError

if TYPE_CHECKING:
    from indelible.unlearning.datasets import Dataset


class Classifier(nn.Module):
    """A network whose logits are `classifier(features(images))`.

    features: (N, C, H, W) float to (N, D), the penultimate representation.
    classifier: the last linear layer, (N, D) to (N, classes).
    """

    features: nn.Module
    classifier: nn.Linear

    def forward(self, images: Tensor) -> Tensor:
        """Logits: (N, C, H, W) float in [0, 1] to (N, classes)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


class SmallCNN(Classifier):
    """Two 3x3 convolutions, a max-pool and a hidden layer; 38,026 parameters on 8x8 digits."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),  # after the pool: the same function for a quarter of the work
            nn.Flatten(),
            nn.Linear(32 * (height // 2) * (width // 2), 64),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(64, classes)


_ARCHITECTURES: dict[str, Callable[[tuple[int, int, int], int], Classifier]] = {
    "small-cnn": SmallCNN,
}


def names() -> list[str]:
    """The architectures that `build` knows."""
    return sorted(_ARCHITECTURES)


def build(arch: str, dataset: Dataset, seed: int = 0) -> Classifier:
    """A freshly initialised network for the data set. Raises UserError for an unknown name."""
    if arch not in _ARCHITECTURES:
        raise UserError(f"unknown architecture '{arch}': choose one of {', '.join(names())}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _ARCHITECTURES[arch](dataset.image_shape, len(dataset.classes))


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and raw bits of a state dict, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
