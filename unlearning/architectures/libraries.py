"""Networks of timm and torchvision: functions of a name, an image shape and a number of classes.

What a constructor takes of image size, channels and number of classes is set. A network that cannot
be told the number of channels gets a grey image in each of three. All normalise images in [0, 1]
themselves, as the library's configuration of the pretrained weights says.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int]  # channels, height, width

RGB = 3
UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


class Entrance:
    """What happens to images before a network sees them: a hook, so that no parameter is renamed.

    Attributes:
        channels: that the network takes. mean, std: one number a channel, or their mean for all.
    """

    def __init__(self, channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
        self.channels = channels
        self.mean, self.std = (
            [*part] if channels == len(part) else [sum(part) / len(part)] for part in (mean, std)
        )

    def __call__(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        """The images (N, C, H, W) as the network takes them."""
        images = inputs[0]
        if images.shape[1] == 1:
            images = images.expand(-1, self.channels, -1, -1)
        mean, std = (torch.tensor(part)[:, None, None].to(images) for part in (self.mean, self.std))
        return (images - mean) / std

    def __str__(self) -> str:
        """In words."""
        mean, std = (", ".join(f"{x:.4g}" for x in part) for part in (self.mean, self.std))
        return f"mean {mean} and deviation {std}"


def entrance(network: nn.Module) -> Entrance | None:
    """What happens to images before a network of a library sees them; None for any other."""
    hooks = network._forward_pre_hooks.values()
    return next((hook for hook in hooks if isinstance(hook, Entrance)), None)


def timm(name: str, image_shape: Shape, classes: int, **options: Any) -> nn.Module:
    """A network of timm. The name may end in the tag of pretrained weights, `NAME.TAG`."""
    channels, height, width = image_shape
    size = height if height == width else (height, width)
    wanted = {"img_size": size, "in_chans": channels, "num_classes": classes}
    build = partial(importlib.import_module("timm").create_model, name)
    network, taken = _made(build, wanted, options)
    known: Any = network.pretrained_cfg
    takes = channels if "in_chans" in taken else RGB
    network.register_forward_pre_hook(Entrance(takes, known["mean"], known["std"]))
    return network


def torchvision(name: str, image_shape: Shape, classes: int, **options: Any) -> nn.Module:
    """A network of torchvision: of three channels."""
    models = importlib.import_module("torchvision.models")
    wanted = {"image_size": image_shape[1], "num_classes": classes}
    network, _ = _made(partial(models.get_model, name), wanted, options)
    known = models.get_model_weights(name).DEFAULT.transforms()
    network.register_forward_pre_hook(Entrance(RGB, known.mean, known.std))
    return network


def _made(
    build: Callable[..., nn.Module], wanted: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[nn.Module, Mapping[str, Any]]:
    """A network with its options and what its constructor takes of `wanted`; and what it took."""
    try:
        return build(**{**wanted, **options}), wanted
    except TypeError as error:
        found = UNEXPECTED.search(str(error))
        if found is None or found[1] not in wanted.keys() - options.keys():
            raise
        return _made(build, {k: v for k, v in wanted.items() if k != found[1]}, options)
