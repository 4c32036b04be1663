"""A multilayer perceptron."""

from __future__ import annotations

from torch import nn

from unlearning.architectures import Shape


def mlp(image_shape: Shape, classes: int) -> nn.Module:
    """Two hidden layers of 128 and 64; it takes rows of a table as well as images."""
    channels, height, width = image_shape
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * height * width, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


ARCHITECTURE = mlp
