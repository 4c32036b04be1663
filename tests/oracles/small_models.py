"""Models so small that a step of unlearning can be worked out by hand.

The two-weight model has logits (w0 x, w1 x) of a one-pixel image x, at first w = (1, 0). With
d = w0 - w1, p(class 0 | x) = sigmoid(d x). Every gradient is a multiple of u = (1, -1):
d CE(x, 0) / dw = -x (1 - sigmoid(d x)) u and d CE(x, 1) / dw = x sigmoid(d x) u.
"""

import math

import torch
from torch import Tensor, nn

from tests.oracles.loops import Data, Retain, Steps, Task, no_retain


def sigmoid(z: float) -> float:
    """1 / (1 + exp(-z))."""
    return 1 / (1 + math.exp(-z))


Q = 1 - sigmoid(1)
"""1 - p(class 0) of pixel 1 under the two-weight model."""


def linear(weight: list[list[float]]) -> nn.Module:
    """Logits W x without a bias, in eval mode and in float64."""
    layer = nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight.data = torch.tensor(weight, dtype=torch.float64)
    return nn.Sequential(nn.Flatten(), layer).double().eval()


def pixels(*values: float) -> Tensor:
    """An image (1, 1, W)."""
    return torch.tensor([[list(values)]], dtype=torch.float64)


def two_weights() -> nn.Module:
    """The model of the docstring above."""
    return linear([[1.0], [0.0]])


def pixel_one(base: nn.Module | None = None, retain: Retain = no_retain) -> Task:
    """Pixel 1 of class 0 is to be unlearned, from the two-weight model or another."""
    return Task(base or two_weights(), pixels(1.0), 0, retain)


def sgd(lr: float, max_steps: int) -> Steps:
    """Plain SGD."""
    return {
        "optimizer": "sgd",
        "lr": lr,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "max_steps": max_steps,
    }


def weights(model: nn.Module) -> list[float]:
    """All weights, flat."""
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


def pair(d: float) -> list[float]:
    """Both weights at the difference d: they move by opposite amounts from (1, 0)."""
    return [(1 + d) / 2, (1 - d) / 2]


def class_one(*values: float) -> Data:
    """One-pixel images, all of class 1."""
    images = torch.stack([pixels(value) for value in values])
    return images, torch.ones(len(values), dtype=torch.long)


def retain_two(step: int, slot: int) -> Data:
    """One image, pixel 2, of class 1."""
    return class_one(2.0)


def retain_nan(step: int, slot: int) -> Data:
    """A batch that makes every step non-finite."""
    return class_one(math.nan)


def convolutional() -> nn.Module:
    """A small float32 network with a batch norm, in eval mode."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)]
    return nn.Sequential(*layers).eval()


def random_retain(step: int, slot: int) -> Data:
    """Five random images, different for each step and slot."""
    generator = torch.Generator().manual_seed(100 * step + slot)
    images = torch.randn(5, 1, 6, 6, generator=generator)
    return images, torch.randint(0, 4, (5,), generator=generator)


def random_task() -> Task:
    """A random image, of the class that the convolutional network gives it, is to be unlearned."""
    base = convolutional()
    image = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(7))
    label = int(base(image.unsqueeze(0)).argmax())
    return Task(base, image, label, random_retain)


def scrub_move(d: float, x: float) -> float:
    """d (T^2 KL) / d w0 of SCRUB on pixel x at T = 2.

    With p = sigmoid(x / T) of the teacher (d = 1) and s = sigmoid(d x / T) of the student,
    T^2 (s - p) x / T.
    """
    return 2.0 * (sigmoid(d * x / 2) - sigmoid(x / 2)) * x
