"""All commands by the names that the command line has for them."""

from __future__ import annotations

import re
from types import ModuleType

from tracker.commands import Command, ask, keep, make


def _of(module: ModuleType) -> dict[str, type[Command]]:
    return {
        re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower(): kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Command) and kind.does
    }


GROUPS = {  # of help
    "Make base models, predictions, sweeps, settings and advice": _of(make),
    "Ask what they came to": _of(ask),
    "Keep the store": _of(keep),
}
COMMANDS = {name: kind for group in GROUPS.values() for name, kind in group.items()}
