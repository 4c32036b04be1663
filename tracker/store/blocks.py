"""Long lists in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def in_blocks(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of that size, the last of which may be shorter."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
