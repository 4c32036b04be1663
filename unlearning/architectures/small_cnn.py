"""Two convolutions and a hidden layer: small enough for a CPU, good enough for digits."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from unlearning.architectures import Shape, refuse_rows

LARGE = 16  # pixels a side from which on an image is looked at in larger steps


def small_cnn(image_shape: Shape, classes: int) -> nn.Module:
    """Two 3x3 convolutions, a max-pool and a hidden layer; 38,026 parameters on 8x8 digits.

    On images of 16 pixels and more the first convolution has a stride of two.
    """
    refuse_rows(image_shape)
    channels, height, width = image_shape
    stride = 2 if min(height, width) >= LARGE else 1
    hidden = 32 * (-(-height // stride) // 2) * (-(-width // stride) // 2)
    features = nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1, stride=stride),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),  # after the pool: the same function for a quarter of the work
        nn.Flatten(),
        nn.Linear(hidden, 64),
        nn.ReLU(),
    )
    return nn.Sequential(OrderedDict(features=features, classifier=nn.Linear(64, classes)))


ARCHITECTURE = small_cnn
