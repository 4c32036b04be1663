"""The algorithms by name: one module each, of the algorithm's own name, that sets `ALGORITHM`.

Listing the names imports nothing, so that a command line can show them at once.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from unlearning.errors import UserError

if TYPE_CHECKING:
    from unlearning.algorithm import Algorithm


def names() -> list[str]:
    """The algorithms there are: the modules beside this one."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> type[Algorithm]:
    """The algorithm's class. Raises UserError where there is none of that name."""
    if name not in names():
        raise UserError(f"unknown algorithm '{name}': choose from {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    found: type[Algorithm] = module.ALGORITHM
    return found
