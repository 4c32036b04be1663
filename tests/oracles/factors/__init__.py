"""One file a factor family, named like it, with a function for each factor, of the factor's name.

A function takes what the definition speaks of (logits, labels, features, weights) and gives the
number of one sample, in float64. Beside it, `test_` and the family's name has the cases worked out
by hand that check the functions themselves. No file here imports anything of what it checks.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def families() -> list[str]:
    """The families that have such a file."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("test_"))


def find(family: str) -> ModuleType:
    """The file of a family."""
    return importlib.import_module(f"{__name__}.{family}")
