"""Rows of the warehouse's reports as trees, their numbers as text for pages and figures, and the
ways in which an attempt can end with their words and looks."""

from __future__ import annotations

import csv
import math
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import quantiles
from typing import Any

Rows = list[dict[str, Any]]

STATUSES = Path(__file__).parent / "data" / "statuses.csv"
MAX_LOSS = 5.0  # percentage points of test accuracy: a flip that costs more counts as damage
NO_REFERENCE = 0.1  # of accuracy between a base model and reference models: more, and they are none
LEVEL = 0.05  # below which a p-value says more than chance
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


@cache
def looks() -> tuple[dict[str, str], ...]:
    """The endings of attempts as they are drawn, rows of `data/statuses.csv` (see README.md there).

    Attempts that damaged the network stand apart from the others. Damage is no status, but a
    reading of the result with a limit: it has no position in the file.
    """
    with STATUSES.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def nested(rows: Rows, *columns: str) -> dict[Any, Any]:
    """The rows as a tree: a level a column, in the rows' order, with lists of rows as leaves."""
    first, *rest = columns
    tree: dict[Any, Any] = {}
    for row in rows:
        tree.setdefault(row[first], []).append(row)
    return {key: nested(part, *rest) for key, part in tree.items()} if rest else tree


def names(rows: Rows, column: str) -> list[Any]:
    """The values of a column, each once, in the rows' order."""
    return list(dict.fromkeys(row[column] for row in rows))


def is_squeezed(rows: Rows, column: str) -> bool:
    """Whether the middle 80% of an algorithm's values would take less than a tenth of an axis that
    all algorithms share."""
    known = [row for row in rows if row[column] is not None]
    panels = [[row[column] for row in own] for own in nested(known, "algorithm").values()]
    tenths = [quantiles(own, n=10, method="inclusive") for own in panels if len(own) > 1]
    every = [value for own in panels for value in own]
    return any(0 < own[-1] - own[0] < (max(every) - min(every)) / 10 for own in tenths)


def in_words(parts: list[str]) -> str:
    """The parts as a list in a sentence: a, b and c."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def signed(value: float | None, digits: int = 2) -> str:
    """A number between -1 and 1 with its sign."""
    if value is None:
        return DASH
    rounded = round(value, digits) or 0.0  # no minus before a zero
    return f"{rounded:+.{digits}f}".replace("-", MINUS)


def plain(rho: float) -> str:
    """A rho, with a sign only where it is below zero."""
    return f"{rho:.2f}".replace("-", MINUS)


def number(value: float | None, digits: int = 3) -> str:
    """A number with that many significant digits; a whole number without decimals."""
    if value is None or not math.isfinite(value):
        return DASH
    short = f"{value:.0f}" if float(value).is_integer() else f"{value:.{digits}g}"
    return short.replace("-", MINUS)


def points(value: float | None) -> str:
    """Percentage points to the tenth; a dash where they are not known."""
    return DASH if value is None else f"{round(value, 1) or 0.0:.1f}".replace("-", MINUS)


def share(value: float) -> str:
    """A share in percent, to the tenth where it is not a whole number."""
    return f"{100 * value:.1f}".removesuffix(".0") + "%"


def no_reference(accuracy: float | None, base_accuracy: float) -> str:
    """Why reference models with this test accuracy on average are no reference; empty if they are.

    Args:
        accuracy: None where there are no reference models. base_accuracy: of the base model.
    """
    if accuracy is None or abs(accuracy - base_accuracy) <= NO_REFERENCE:
        return ""
    return (
        f"reference models get {accuracy:.1%} of the test set right on average, the base model "
        f"{base_accuracy:.1%}: that is no reference, for models that are much better or worse than "
        "the base model do not tell where it would stand. Their recipe is another, or their share "
        "too small"
    )


def said_p(p_value: float | None) -> str:
    """A p-value as text; a dash if there is none."""
    if p_value is None:
        return DASH
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.{2 if p_value >= 0.1 else 3}f}"


def is_told(p_value: float | None) -> bool:
    """Whether a p-value (corrected, if there were several tests) is below LEVEL."""
    return p_value is not None and p_value < LEVEL


def said(row: dict[str, Any]) -> str:
    """A correlation as text, or why there is none."""
    return str(row["undefined"]) if row["rho"] is None else f"ρ {signed(row['rho'])}"


def with_interval(row: dict[str, Any]) -> str:
    """The rho of an algorithm as text, with its 95% interval if it has one."""
    ends = (
        "" if row["ci_low"] is None else f" ({signed(row['ci_low'])} to {signed(row['ci_high'])})"
    )
    return f"{signed(row['rho'])}{ends} with {row['algorithm']}"


def ceiling(row: dict[str, Any], sign: str = "", interval: bool = False) -> str:
    """A ceiling as text: the most to expect of a factor's correlation with GT."""
    if row["ceiling_low"] == 0:
        return "not distinguishable from 0"
    if row["ceiling"] is None:
        return DASH
    found = f"{sign}{row['ceiling']:.2f}"
    if interval and row["ceiling_low"] is not None:
        found += f" ({row['ceiling_low']:.2f} to {row['ceiling_high']:.2f})"
    return found


def crowd(rows: Rows) -> int:
    """How many samples share a value of which only some are among these rows; 0 if none do."""
    shown = Counter(row["value"] for row in rows)
    crowds = (row["tied"] + 1 for row in rows if row["tied"] >= shown[row["value"]])
    return max(crowds, default=0)


def under_other_seeds(seeds: Rows) -> str:
    """Which algorithms may order the samples by chance, and are left out where others do not.

    Args:
        seeds: rows of the report `seed_agreement`.
    """
    found = []
    for row in seeds:
        rho, repeats, known = row["seed_rho"], row["repeats"], "one seed"
        if rho is not None:
            seeds_of = f"of {repeats} repeats" if repeats else "seeds on digits; one seed here"
            known = f"ρ {plain(rho)} between two {seeds_of}"
        found += [] if row["is_steady"] else [f"{row['algorithm']} ({known})"]
    why = "another seed may well give another order: "
    head = f"Left out, since {why}" if len(found) < len(seeds) else why.capitalize()
    return f"{head}{in_words(found)}." if found else ""
