"""stdout and stderr while a command runs: control characters are escaped, and output that cannot
be written ends the command with one line."""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TextIO

from unlearning.errors import Failure

# Control characters (C0, DEL and C1) and what turns the direction of text: all; all but those of
# lines; all but those of progress too.
STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
PROGRESS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def escaped(text: str, which: re.Pattern[str] = STEERING) -> str:
    """Text whose control characters are written out."""
    return which.sub(lambda match: repr(match[0])[1:-1], text)


class Closed(Exception):  # noqa: N818 - it is no error
    """The reader of stdout has gone, so there is nobody to report to."""


class StandardStream(io.TextIOBase):
    """A standard stream that escapes what its reader cannot be shown.

    Args:
        stream: where to; None where the process was started without one.
        escapes: characters that are not passed on but written out; None: there are none.
    """

    def __init__(self, stream: TextIO | None, escapes: re.Pattern[str] | None = None) -> None:
        self._stream, self._escapes = stream, escapes

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream behind."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Nothing is lost."""
        return "backslashreplace"

    @property
    def styled(self) -> StandardStream:
        """The same for text whose control characters are wanted: colours, a progress bar."""
        return type(self)(self._stream)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream behind."""
        return super().fileno() if self._stream is None else self._stream.fileno()

    def write(self, text: str) -> int:
        """Write what can be shown."""
        shown = escaped(text, self._escapes) if self._escapes else text
        shown = shown.encode(self.encoding, self.errors).decode(self.encoding)
        if shown:
            self._do(lambda stream: stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Write what waits."""
        if self._stream is not None:
            self._do(lambda stream: stream.flush())

    def close(self) -> None:
        """Leave the stream behind open."""

    def _do(self, work: Callable[[TextIO], object]) -> None:
        if self._stream is None:
            self._fail(OSError(errno.EBADF, os.strerror(errno.EBADF)))
            return
        try:
            work(self._stream)
        except OSError as error:
            self._drop()
            self._fail(error)

    def _drop(self) -> None:
        """Drop what is still buffered, so that it does not fail again when the process ends."""
        with suppress(OSError), open(os.devnull, "w") as nothing:  # noqa: PTH123 - a device
            os.dup2(nothing.fileno(), self.fileno())

    def _fail(self, error: OSError) -> None:
        """Ignore the error: there is no place left to report it."""


class Output(StandardStream):
    """stdout. Raises Failure where it cannot be written, Closed where its reader has gone."""

    def data(self, text: str) -> None:
        """Write text for machines: unchanged, but on a terminal."""
        if self.isatty():
            self.write(text)
        elif codecs.lookup(self.encoding).name == "ascii":  # as click has it
            self._do(lambda stream: stream.buffer.write(text.encode()))
        else:
            self.styled.write(text)

    def _fail(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise Closed from error
        raise Failure(f"the output cannot be written: {error.strerror}") from error


@contextmanager
def standard_streams() -> Iterator[None]:
    """Have them in the place of stdout and stderr, for as long as the context lasts."""
    out = Output(sys.stdout, LINES if sys.stdout is not None and sys.stdout.isatty() else None)
    with redirect_stdout(out), redirect_stderr(StandardStream(sys.stderr, PROGRESS)):
        yield
