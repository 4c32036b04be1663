"""A multilayer perceptron, a small convolutional network and ResNet-18."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from unlearning.architectures import Shape

LARGE = 16  # pixels a side from which on `small_cnn` looks at an image in larger steps


def refuse_rows(image_shape: Shape) -> None:
    """Raise ValueError for what has no height and width, such as a row of a table."""
    if image_shape[1:] == (1, 1):
        raise ValueError("its convolutions need images, and --arch mlp takes rows of a table")


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


def resnet18_imagenet(image_shape: Shape, classes: int) -> nn.Module:
    """A first convolution of 7x7 and stride 2, and a max-pool."""
    return resnet18(image_shape, classes, stem="imagenet")


ARCHITECTURE = {
    "mlp": mlp,
    "resnet18": resnet18,
    "resnet18-imagenet": resnet18_imagenet,
    "small-cnn": small_cnn,
}
