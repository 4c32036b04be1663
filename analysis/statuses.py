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


# A flip at the price of the network: no status, but a reading of the result with a limit.
DAMAGED = Ending(
    status="damaged",
    words="flipped, model damaged",
    meaning="the prediction changed, and with it the network lost more accuracy than the limit",
    has_gt=True,
    legend="flipped, model damaged",
    marker="v",
    print_colour="#7A1F2B",
    shape="triangle-down",
    page_colour="#7a1f2b",
    dark_page_colour="#ff8f8f",
)


@cache
def endings() -> tuple[Ending, ...]:
    """All ways in which an attempt can end, in the order in which they are shown."""
    with STATUSES.open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row.pop("position")))
    return tuple(Ending(has_gt=row.pop("has_gt") == "true", **row) for row in rows)


def looks() -> tuple[Ending, ...]:
    """The endings as they are drawn: flips that damaged the network stand apart from the others."""
    first, *others = endings()
    return (first, DAMAGED, *others)
