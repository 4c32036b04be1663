"""Architectures by name: one module each (with `_` for `-`) that sets `ARCHITECTURE`.

An architecture is a function from an image shape (channels, height, width) and a number of classes
to a freshly initialised network: see `unlearning.models` for what is asked of it. Other people's
come by the entry points `indelible.architectures`, and the user's own as
`module:package.module:factory`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unlearning.registry import Registry

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]  # channels, height, width


def refuse_rows(image_shape: Shape) -> None:
    """Raise ValueError for what has no height and width, such as a row of a table."""
    if image_shape[1:] == (1, 1):
        raise ValueError("its convolutions need images, and --arch mlp takes rows of a table")


REGISTRY: Registry[Callable[[Shape, int], nn.Module]] = Registry(
    "architecture",
    __name__,
    "ARCHITECTURE",
    group="indelible.architectures",
    hyphens=True,
    otherwise=", or write module:package.module:factory",
)

names, get, provider = REGISTRY.names, REGISTRY.get, REGISTRY.provider
