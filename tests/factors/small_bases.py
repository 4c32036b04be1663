"""Base models on a handful of random or given images, in float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlearning.base_model import BaseModel
from unlearning.dataset import Dataset, Split

CPU, CLASSES = torch.device("cpu"), 3


def base_of(network: nn.Module, train: Split, test: Split, white: int = 255) -> BaseModel:
    """The network with these images."""
    names = tuple(str(label) for label in range(CLASSES))
    return BaseModel(network.double(), Dataset("small", train, test, names, white), CPU)


def split_of(pixels: list[list[int]], labels: list[int]) -> Split:
    """One image a row, of one line."""
    images = torch.tensor(pixels, dtype=torch.uint8)[:, None, None]
    return Split(images, torch.tensor(labels), torch.arange(len(labels)))


def one_pixel(
    weight: list[float], bias: bool = True, sizes: tuple[int, int] = (1, 3), double: bool = False
) -> BaseModel:
    """Logits w x of one white pixel, with a bias of zero or none; all samples are of class 0."""
    layer = nn.Linear(1, len(weight), bias=bias)
    layer.weight.data = torch.tensor(weight)[:, None]
    if bias:
        layer.bias.data = torch.zeros(len(weight))
    train, test = (split_of([[255]] * size, [0] * size) for size in sizes)
    data = Dataset("one pixel", train, test, tuple("012"[: len(weight)]), white=255)
    network = nn.Sequential(nn.Flatten(), layer)
    return BaseModel(network.double() if double else network, data, CPU)


def random_base(network: nn.Module) -> BaseModel:
    """The network with 20 training and 8 test images, (1, 6, 6), of which most are wrong."""
    generator = torch.Generator().manual_seed(2)

    def random_split(size: int) -> Split:
        images = torch.randint(0, 256, (size, 1, 6, 6), generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, CLASSES, (size,), generator=generator)
        return Split(images, labels, torch.arange(size))

    return base_of(network, random_split(20), random_split(8))


def normalised() -> nn.Module:
    """A convolution with a batch norm that has seen data, and a last layer without a bias."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(48, CLASSES, bias=False)
    )
    for _ in range(5):
        network(torch.rand(16, 1, 6, 6) * 3)
    return network


class Tied(nn.Module):
    """Two hidden layers that have one weight between them, and a scalar parameter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(36, 36), nn.Linear(36, 36)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.last = nn.Linear(36, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(images.flatten(1)))
        logits: Tensor = self.last(torch.tanh(self.scale * self.second(hidden)))
        return logits
