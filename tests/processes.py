"""Processes that tests start and send signals to."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from typing import Any


def interruptible(command: Sequence[str], **named: Any) -> subprocess.Popen[str]:
    """A process that Ctrl-C ends, also where it is ignored by whoever runs the tests.

    A shell that starts something in the background has it ignore SIGINT, and that is inherited.
    """

    def restore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(command, preexec_fn=restore, **named)
