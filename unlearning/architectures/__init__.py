"""Architectures by name: a module sets `ARCHITECTURE`, to one of its own name or several by name.

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


REGISTRY: Registry[Callable[[Shape, int], nn.Module]] = Registry(
    "architecture",
    __name__,
    "ARCHITECTURE",
    group="indelible.architectures",
    otherwise=", or write module:package.module:factory",
)

names, get, provider = REGISTRY.names, REGISTRY.get, REGISTRY.provider
