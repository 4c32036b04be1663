"""One file an algorithm, named like it: its plain loop, and the settings it is compared with.

Such a file has

- `unlearn(task, **settings)`: the loop of one sample. The settings are the hyper-parameters, but
  for `retain_batch` and `batch_norm`: the batches come with the task, and statistics are frozen;
- `SETTINGS`: some sets of hyper-parameters, with which the engine is held against the loop.

Beside it, `test_` and its name has the cases worked out by hand that check the loop itself. No
file here imports anything of what it checks.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def names() -> list[str]:
    """The algorithms that have such a file."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("test_"))


def find(name: str) -> ModuleType:
    """The file of an algorithm."""
    return importlib.import_module(f"{__name__}.{name}")
