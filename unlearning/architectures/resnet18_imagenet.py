"""torchvision's own ResNet-18, whose first layers are made for large images."""

from __future__ import annotations

from torch import nn

from unlearning.architectures import Shape
from unlearning.architectures.resnet18 import resnet18


def resnet18_imagenet(image_shape: Shape, classes: int) -> nn.Module:
    """A first convolution of 7x7 and stride 2, and a max-pool."""
    return resnet18(image_shape, classes, stem="imagenet")


ARCHITECTURE = resnet18_imagenet
