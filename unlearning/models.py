"""Architectures by name, and what is asked of any network: its last linear layer and its inputs.

A network is any `nn.Module` from images (N, C, H, W) in [0, 1] to logits (N, classes) whose logits
come straight out of a linear layer. That layer's inputs are the penultimate features.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unlearning.errors import UserError

if TYPE_CHECKING:
    from unlearning.datasets import Dataset

Shape = tuple[int, int, int]  # channels, height, width

OWN = "module:"  # begins the name of a user's own architecture
_SEEDED = threading.Lock()  # held while torch's own generator, which threads share, is ours
LARGE = 16  # pixels a side from which on an image is looked at in larger steps


class SmallCNN(nn.Module):
    """Two 3x3 convolutions, a max-pool and a hidden layer; 38,026 parameters on 8x8 digits.

    On images of 16 pixels and more the first convolution has a stride of two.
    """

    def __init__(self, image_shape: Shape, classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        stride = 2 if min(height, width) >= LARGE else 1
        hidden = 32 * (-(-height // stride) // 2) * (-(-width // stride) // 2)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1, stride=stride),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),  # after the pool: the same function for a quarter of the work
            nn.Flatten(),
            nn.Linear(hidden, 64),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits: (N, C, H, W) to (N, classes)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def mlp(image_shape: Shape, classes: int) -> nn.Module:
    """Two hidden layers of 128 and 64."""
    channels, height, width = image_shape
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * height * width, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def resnet18(image_shape: Shape, classes: int, stem: str = "cifar") -> nn.Module:
    """torchvision's ResNet-18, with its parameter names.

    The `cifar` stem is one 3x3 convolution of stride 1 and no max-pool, as is usual for 32x32
    images; `imagenet` is torchvision's own.
    """
    try:
        from torchvision.models import resnet18 as build  # type: ignore[import-untyped]
    except ImportError:
        raise UserError(
            "architecture 'resnet18' needs torchvision: pip install 'indelible[vision]'"
        ) from None
    network: nn.Module = build(num_classes=classes)
    channels, out = image_shape[0], 64
    if stem == "cifar":
        network.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, out, 7, stride=2, padding=3, bias=False)
    return network


_ARCHITECTURES: dict[str, Callable[[Shape, int], nn.Module]] = {
    "mlp": mlp,
    "resnet18": resnet18,
    "resnet18-imagenet": lambda shape, classes: resnet18(shape, classes, "imagenet"),
    "small-cnn": SmallCNN,
}


def names() -> list[str]:
    """The architectures that `build` knows, beside a user's own."""
    return sorted(_ARCHITECTURES)


def build(arch: str, dataset: Dataset, seed: int = 0) -> nn.Module:
    """A freshly initialised network for the data set.

    Args:
        arch: one of `names()`, or `module:package.module:factory` for a function from the image
            shape (channels, height, width) and the number of classes to a network.

    Raises UserError for an unknown name, and for a network of another form.
    """
    factory = _own(arch) if arch.startswith(OWN) else _ARCHITECTURES.get(arch)
    if factory is None:
        raise UserError(
            f"unknown architecture '{arch}': choose one of {', '.join(names())}, "
            "or write module:package.module:factory"
        )
    with _SEEDED, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _made(factory, arch, dataset)
    _check(network, arch, dataset)
    return network


def _own(arch: str) -> Callable[[Shape, int], nn.Module]:
    module, _, factory = arch.removeprefix(OWN).partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` would find it
        sys.path.insert(0, here)
    try:
        found: Callable[[Shape, int], nn.Module] = getattr(importlib.import_module(module), factory)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"architecture '{arch}' cannot be found ({error}): "
            "write module:package.module:factory, importable from here"
        ) from error
    return found


def _made(factory: Callable[[Shape, int], nn.Module], arch: str, dataset: Dataset) -> nn.Module:
    try:
        return factory(dataset.image_shape, len(dataset.classes))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"architecture '{arch}' cannot be made from an image shape {dataset.image_shape} and "
            f"{len(dataset.classes)} classes: {str(error).partition(chr(10))[0]}"
        ) from error


def _check(network: nn.Module, arch: str, dataset: Dataset) -> None:
    if not isinstance(network, nn.Module):
        raise UserError(f"architecture '{arch}' gives a {type(network).__name__}, not a network")
    image = torch.zeros(2, *dataset.image_shape)
    mode = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(image)
            head = last_linear(network, image)
    except RuntimeError as error:
        raise UserError(
            f"architecture '{arch}' does not take images of shape {dataset.image_shape}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    finally:
        network.train(mode)
    expected = (len(image), len(dataset.classes))
    if head is None or tuple(logits.shape) != expected:
        raise UserError(
            f"architecture '{arch}' must end in a linear layer that gives the logits of "
            f"{expected[1]} classes"
        )


def last_linear(network: nn.Module, images: Tensor) -> str | None:
    """The name of the linear layer whose outputs are the network's, None if there is none."""
    outputs: dict[str, Tensor] = {}

    def remember(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(module: nn.Module, _: object, output: Tensor) -> None:
            outputs[name] = output

        return hook

    linear = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear)]
    hooks = [module.register_forward_hook(remember(name)) for name, module in linear]
    try:
        logits = network(images)
    finally:
        for handle in hooks:
            handle.remove()
    return next((name for name, output in outputs.items() if output is logits), None)


@contextmanager
def captured_inputs(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What enters the layer while the context lasts, call by call."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and raw bits of a state dict, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
