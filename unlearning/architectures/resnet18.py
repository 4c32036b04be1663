"""ResNet-18 for small images, with torchvision's parameter names."""

from __future__ import annotations

from torch import nn

from unlearning.architectures import Shape, refuse_rows


def resnet18(image_shape: Shape, classes: int, stem: str = "cifar") -> nn.Module:
    """torchvision's ResNet-18, with its parameter names.

    The `cifar` stem is one 3x3 convolution of stride 1 and no max-pool, as is usual for 32x32
    images; `imagenet` is torchvision's own.
    """
    refuse_rows(image_shape)
    from torchvision.models import resnet18 as build  # type: ignore[import-untyped] # a second

    network: nn.Module = build(num_classes=classes)
    channels, out = image_shape[0], 64
    if stem == "cifar":
        network.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, out, 7, stride=2, padding=3, bias=False)
    return network


ARCHITECTURE = resnet18
