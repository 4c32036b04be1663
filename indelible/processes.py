"""Is a process still there? What a killed one left behind may be tidied up."""

from __future__ import annotations

import os


def process_is_gone(pid: int) -> bool:
    """Whether no process of this machine has that id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is there, and somebody else's
        return False
    return False
