"""What takes long is computed once, and kept in the study's folder as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import factors
from analysis.drafts import write_whole

T = TypeVar("T")

FACTORS = Path(factors.__file__).parent


class Kept:
    """Results by what they follow from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "kept"
        self.folder.mkdir(parents=True, exist_ok=True)

    def once(
        self, name: str, inputs: object, compute: Callable[[], T], code: Sequence[str] = ()
    ) -> T:
        """The result of `compute`, which JSON can hold.

        Args:
            inputs: what it follows from, with a `repr` that says all of it.
            code: files in the folder `factors` that it follows from too.
        """
        digest = hashlib.sha256(repr(inputs).encode())
        for file in code:
            digest.update((FACTORS / file).read_bytes())
        path = self.folder / f"{name}-{digest.hexdigest()[:16]}.json"
        if not path.is_file():
            write_whole(path, json.dumps(compute()).encode())
        found: T = json.loads(path.read_text("utf-8"))
        return found
