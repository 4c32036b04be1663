"""Signals that end a command before it is done: Ctrl-C, and being told to end."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import suppress
from typing import Any

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
        signal.signal(signal.SIGTERM, self._end)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
            signal.signal(signal.SIGINT, self._end)

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
