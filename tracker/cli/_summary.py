"""What a sweep came to, as lines of text for stderr: stdout is data."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.store.records import Finished
    from tracker.sweep.plan import Plan
    from tracker.sweep.summary import Summary

ALWAYS = ("algorithm", "flipped", "damaged", "accuracy", "lost", "worst", "steps", "time")


def table_of(
    plan: Plan, done: Mapping[str, Finished], test_accuracy: float, max_loss: float
) -> list[str]:
    """A line for each algorithm of which anything was attempted, below what the columns mean.

    Args:
        done: members by key. test_accuracy: the base model's.
        max_loss: percentage points of it that a flip may cost.
    """
    from tracker.sweep.summary import summed_up

    rows = []
    for name, keys in plan.planned().items():
        members = [done[key] for key in keys if key in done]
        summary = summed_up(name, members, test_accuracy, max_loss)
        if summary.attempts:
            rows.append(_cells(summary))
    if not rows:
        return []
    shown = [column for column in rows[0] if column in ALWAYS or any(r[column] for r in rows)]
    meaning = (
        f"Test accuracy was {test_accuracy:.1%} before. Lost: points of it, on average and at "
        f"worst.\nDamaged: flipped, but lost more than {max_loss:g} points."
    )
    cells = [shown, *([row[column] or "-" for column in shown] for row in rows)]
    edge = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    return ["", *meaning.splitlines(), *(line for part in parts(cells, edge) for line in part)]


def _cells(summary: Summary) -> dict[str, str]:
    """The cells of an algorithm's line by column; empty where there is nothing to say."""
    nothing = summary.unchanged + summary.same_outputs
    return {
        "algorithm": summary.algorithm,
        "flipped": f"{summary.flipped} of {summary.attempts}",
        "damaged": str(summary.damaged),
        "unchanged": str(nothing) if nothing else "",
        "accuracy": _number(summary.accuracy, ".1%"),
        "lost": _number(summary.mean_lost, "z.1f"),
        "worst": _number(summary.worst_lost, "z.1f"),
        "gap": _number(summary.gap, ".2g"),
        "steps": _number(summary.steps, ".1f"),
        "time": _number(summary.seconds, ".2g", " s"),
    }


def _number(value: float | None, style: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{style}}{unit}"


def parts(cells: Sequence[Sequence[str]], edge: int | None) -> list[list[str]]:
    """The lines of a table below an empty one; of one too wide in parts, each with the names.

    Args:
        cells: the rows, the headings first. edge: the width of the terminal; None: there is none.
    """
    groups = [[0]]
    for column in range(1, len(cells[0])):
        tried = [*groups[-1], column]
        width = len(_aligned([[row[k] for k in tried] for row in cells])[0])
        if edge is None or len(tried) == 2 or width <= edge:
            groups[-1] = tried
        else:
            groups.append([0, column])
    return [["", *_aligned([[row[k] for k in group] for row in cells])] for group in groups]


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """The cells of a table in columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
