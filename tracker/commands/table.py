"""All commands by the names that the command line has for them."""

from __future__ import annotations

import re
from types import ModuleType

from tracker.commands import Command, ask, keep, make


def _of(module: ModuleType) -> dict[str, type[Command]]:
    kinds = [each for each in vars(module).values() if isinstance(each, type)]
    return {
        re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower(): kind
        for kind in kinds
        if issubclass(kind, Command) and kind.group
    }


COMMANDS = _of(make) | _of(ask) | _of(keep)
