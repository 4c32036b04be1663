"""What takes long is computed once, and kept in the study's folder as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from analysis.atomic import write_atomically
from tracker.store.records import sha256_of

T = TypeVar("T")


class Kept:
    """Results by what they follow from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "kept"
        self.folder.mkdir(parents=True, exist_ok=True)

    def once(self, name: str, inputs: object, compute: Callable[[], T]) -> T:
        """The result of `compute`, which JSON can hold.

        Args:
            inputs: what it follows from, with a `repr` that says all of it.
        """
        path = self.folder / f"{name}-{sha256_of(repr(inputs))[:16]}.json"
        if not path.is_file():
            write_atomically(path, json.dumps(compute()).encode())
        found: T = json.loads(path.read_text("utf-8"))
        return found
