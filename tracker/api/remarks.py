"""What there is to remark, as the standard library's logging has it."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

NAME = "indelible"  # of the logger


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what is stderr at the time, as notebooks and tests replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The stderr of now."""
        return sys.stderr


def begin() -> None:
    """Have remarks shown on stderr, unless the program says where its logging goes."""
    logger = logging.getLogger(NAME)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        logger.addHandler(_Stderr())


def say(line: str) -> None:
    """A remark for the user."""
    logging.getLogger(NAME).info("%s", line)
