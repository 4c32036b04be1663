"""Signals that end a command before it is done: Ctrl-C, being told to, a terminal that closes."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import suppress
from typing import Any

TOLD = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
SOON = 0.05  # seconds, in which what could not be raised is left


class Ending:
    """Signals raise KeyboardInterrupt, also where CPython ignores what is raised.

    What a finalizer or the callback of a weak reference raises ends nothing (they run wherever the
    last reference goes, and a signal may come just then), so the signal is sent once more.
    """

    def __init__(self) -> None:
        self.by: int | None = None  # the last signal that came
        self._shows = sys.unraisablehook
        sys.unraisablehook = self._ignored
        usual = {signal.SIGINT: signal.default_int_handler} | dict.fromkeys(TOLD, signal.SIG_DFL)
        for number, handler in usual.items():
            if signal.getsignal(number) is handler:  # else it is ignored, as by nohup
                signal.signal(number, self._end)

    def code(self, code: int) -> int:
        """The exit code of a command that came to this one: a shell's where it was told to end."""
        return code if self.by is None or self.by not in TOLD else 128 + self.by

    def _end(self, number: int, _: object) -> None:
        self.by = number
        raise KeyboardInterrupt

    def _ignored(self, ignored: Any) -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            again = threading.Timer(SOON, self._send)
            again.daemon = True
            with suppress(RuntimeError):  # the interpreter ends anyway
                again.start()
        else:
            self._shows(ignored)

    def _send(self) -> None:
        number = self.by or signal.SIGINT
        main = threading.main_thread().ident
        if sys.platform == "win32" or main is None:
            signal.raise_signal(number)
        else:  # to the thread that handles signals, which may be waiting for another
            signal.pthread_kill(main, number)
