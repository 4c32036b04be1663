"""The ways in which an attempt can end, with their words and looks, from `data/statuses.csv`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

STATUSES = Path(__file__).parent / "data" / "statuses.csv"
MAX_LOSS = 5.0  # percentage points of test accuracy: a flip that costs more counts as damage


@dataclass(frozen=True)
class Ending:
    """One way in which an attempt can end.

    Attributes:
        words: what it is called on the page. meaning: what that says, in a sentence.
        has_gt: whether such an attempt has a GT. Only these have the attributes of figures:
        legend: what it is called there. marker, print_colour: matplotlib's mark and its colour.
        shape: the same mark, as Vega calls it.
        page_colour, dark_page_colour: on a light and on a dark page.
        position: among the statuses, from 1; empty for damage.
    """

    status: str
    words: str
    meaning: str
    has_gt: bool
    legend: str
    marker: str
    print_colour: str
    shape: str
    page_colour: str
    dark_page_colour: str
    position: str


@cache
def looks() -> tuple[Ending, ...]:
    """The endings as they are drawn: flips that damaged the network stand apart from the others.

    Damage is no status, but a reading of the result with a limit: it has no position in the file.
    """
    with STATUSES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(Ending(**row | {"has_gt": row["has_gt"] == "true"}) for row in rows)


def endings() -> tuple[Ending, ...]:
    """All ways in which an attempt can end, in the order in which they are shown."""
    return tuple(ending for ending in looks() if ending.position)
